//! TLS to the broker and the database: through ends of TLS before both that ask for a client's certificate.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::cluster::{Cluster, How};
use super::publisher::publish_events;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::program::kindred;
use crate::support::random::Random;

const DOMAIN: &str = "tls.test";
const ITEMS: usize = 40;
const WORDS: usize = 15;
const QUIET: Duration = Duration::from_secs(120);

/// One who certifies, and what it has certified, in files.
struct Authority {
    key: KeyPair,
    params: CertificateParams,
    /// Its own certificate.
    file: PathBuf,
}

impl Authority {
    fn new(place: &Path, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).expect("a certificate");
        let file = place.join(format!("{name}.pem"));
        fs::write(&file, own.pem()).expect("a file");
        Self { key, params, file }
    }

    /// A certificate for this machine, and its key.
    fn certify(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        params.subject_alt_names = vec![SanType::IpAddress(here)];
        let issuer = Issuer::from_params(&self.params, &self.key);
        let cert = params.signed_by(&key, &issuer).expect("a certificate");
        (cert, key)
    }

    /// The same in files.
    fn client(&self, place: &Path) -> [PathBuf; 2] {
        let (cert, key) = self.certify();
        let files = ["client.pem", "client.key"].map(|name| place.join(name));
        fs::write(&files[0], cert.pem()).expect("a file");
        fs::write(&files[1], key.serialize_pem()).expect("a file");
        files
    }
}

/// Takes TLS from clients with a certificate of an authority, and hands what is inside on.
struct End {
    address: SocketAddr,
    /// Connections that were TLS and had a certificate.
    taken: Arc<AtomicUsize>,
}

impl End {
    fn before(place: String, authority: &Authority) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (own, key) = authority.certify();
        let ca = authority.params.self_signed(&authority.key);
        let mut trusted = RootCertStore::empty();
        let added = trusted.add(ca.expect("a certificate").der().clone());
        added.expect("an authority");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(trusted.into(), Arc::clone(&provider));
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![own.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a server")));
        let taken = Arc::new(AtomicUsize::new(0));
        let (tell, told) = std::sync::mpsc::channel();
        let counted = Arc::clone(&taken);
        // Until the process ends.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                tell.send(listener.local_addr().expect("an address"))
                    .expect("somebody waits");
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, place) = (acceptor.clone(), place.clone());
                    let taken = Arc::clone(&counted);
                    tokio::spawn(async move {
                        let Ok(mut outer) = acceptor.accept(stream).await else {
                            return;
                        };
                        taken.fetch_add(1, Ordering::Relaxed);
                        if let Ok(mut inner) = TcpStream::connect(place).await {
                            let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                        }
                    });
                }
            });
        });
        Self {
            address: told.recv().expect("it listens"),
            taken,
        }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// An address of the broker as one of TLS elsewhere.
fn by_tls(url: &str, broker: &str, end: &End) -> String {
    let url = url.replacen("amqp://", "amqps://", 1);
    url.replacen(broker, &end.address.to_string(), 1)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn all_programs_speak_tls_and_trust_one_authority_alone() {
    let cluster = Cluster::new();
    let place = cluster.directory();
    let (ours, others) = (
        Authority::new(place, "ours"),
        Authority::new(place, "others"),
    );
    let [cert, key] = ours.client(place).map(|file| text(&file));
    let broker = cluster.broker.address().to_owned();
    let amqp = End::before(broker.clone(), &ours);
    let cql = End::before(cluster.database.nodes().to_owned(), &ours);
    let amqp_url = |url: &str| by_tls(url, &broker, &amqp);
    let tls = vec![
        ("KINDRED_AMQP_CA", text(&ours.file)),
        ("KINDRED_AMQP_CERT", cert.clone()),
        ("KINDRED_AMQP_KEY", key.clone()),
        ("KINDRED_CQL_NODES", cql.address.to_string()),
        ("KINDRED_CQL_CA", text(&ours.file)),
        ("KINDRED_CQL_CERT", cert),
        ("KINDRED_CQL_KEY", key),
    ];
    let with = |url: String| {
        let mut all = tls.clone();
        all.push(("KINDRED_AMQP_URL", url));
        all
    };
    let service = cluster.service(&How {
        more: with(amqp_url(&cluster.broker.service_url())),
        ..How::default()
    });
    let of_worker = with(amqp_url(&cluster.broker.worker_url()));
    let of_worker: Vec<_> = of_worker
        .iter()
        .map(|(key, value)| (*key, &**value))
        .collect();
    let worker = cluster.worker_with(&of_worker);
    let mut random = Random::of_test("tls");
    let events: Vec<Event> = (0..ITEMS)
        .map(|n| {
            let said = text_item(&mut random, WORDS);
            Event::created(DOMAIN, &format!("item-{n}"), 1, &said)
        })
        .collect();
    publish_events(&cluster.broker.publisher_url(), &events);
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
    // Without a worker the service would have done its work.
    wait_for("the worker has greeted", QUIET, || {
        let workers = service.client().get("/v1/workers").json();
        let workers = workers["workers"].as_array().map_or(0, Vec::len);
        (workers == 1)
            .then_some(())
            .ok_or(format!("{workers} workers"))
    });
    service.process.stop();
    worker.stop();
    assert!(amqp.taken() > 0 && cql.taken() > 0);

    let said = |more: &[(&str, String)]| {
        let mut command = kindred(place);
        command.args(["doctor", "--as", "publisher"]);
        command.env(
            "KINDRED_AMQP_URL",
            amqp_url(&cluster.broker.publisher_url()),
        );
        command.envs(more.iter().map(|(key, value)| (*key, value)));
        let output = command.output().expect("the program starts");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (healthy, words) = said(&tls[..3]);
    assert!(healthy, "{words}");
    // Another authority; no certificate of our own; the plain port behind amqps://.
    let (healthy, words) = said(&[("KINDRED_AMQP_CA", text(&others.file))]);
    assert!(!healthy && words.contains("certificate"), "{words}");
    let (healthy, words) = said(&tls[..1]);
    assert!(!healthy, "{words}");
    let plain = cluster.broker.publisher_url();
    let plain = plain.replacen("amqp://", "amqps://", 1);
    let mut all = tls[..3].to_vec();
    all.push(("KINDRED_AMQP_URL", plain));
    let (healthy, words) = said(&all);
    assert!(!healthy, "{words}");
}
