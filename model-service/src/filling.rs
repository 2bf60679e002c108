//! A keyspace that this process fills by itself, without a broker and without workers: events come from this process
//! alone, as in a standalone, and what they lead to is stored in the database.

use std::sync::Arc;
use std::time::Duration;

use kindred_domain::experiment::store::ExperimentStore;
use kindred_domain::keys::KeyStore;
use kindred_domain::store::{Partition, Store, StoreError};
use kindred_runtime::host::host_name;

use crate::actors::lease::Instance;
use crate::clustered;
use crate::config::Config;
use crate::http::Readiness;
use crate::service::{Access, AccessError, Door, GuardError, ListenError, Role, Service, Sizes};
use crate::standalone;

/// The only partition of such a keyspace.
const PARTITION: Partition = Partition(0);
/// Longest time to take the partition: that of a former owner that ended without handing it over, several times.
const OWN_DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of texts that a domain keeps in memory for extraction; reading them again from the database is slow.
const MATERIAL_BYTES: usize = 4 << 20;
/// How long lists may still be made and stored during a stop.
const DRAIN: Duration = Duration::from_secs(8);

/// Why a keyspace is not filled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The keyspace cannot be opened, or not as configured.
    #[error(transparent)]
    Store(#[from] clustered::StartError),
    /// Who uses it cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// A model service is there.
    #[error(
        "keyspace {keyspace} is in use by {}: stop it, or leave --into out to replay into what is running",
        owners.join(", ")
    )]
    InUse {
        /// The keyspace.
        keyspace: String,
        /// The model services.
        owners: Vec<String>,
    },
    /// What every process needs.
    #[error(transparent)]
    Role(#[from] standalone::StartError),
    /// Cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Keys cannot be read.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The configuration of access is invalid.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The keys cannot be read.
    #[error("keys of keyspace {0} cannot be read: {1}")]
    Keys(String, String),
    /// The partition was not taken.
    #[error("keyspace {0} was opened, but its partition still has an owner: try again in a minute")]
    Owned(String),
}

/// Opens the configured keyspace, creating it if missing, and takes its one partition. Call inside an actix system.
///
/// # Errors
/// [`StartError`], with a message that says what to do. While the database is away, it waits.
pub(crate) async fn start(config: &Config) -> Result<Service, StartError> {
    let keyspace = || config.database.cql_keyspace.clone();
    let access = Access::configured(config)?;
    let readiness = Readiness::waiting_for("database", "not connected yet");
    let door = Door::open(&config.http, readiness, access)?;
    let models = standalone::models(config)?;
    let store = clustered::open_store(config, models.inputs()).await?;
    let owners = store.instances().await?;
    if !owners.is_empty() {
        let keyspace = keyspace();
        return Err(StartError::InUse { keyspace, owners });
    }
    let keys = store.keys().await;
    let keys = keys.map_err(|error| StartError::Keys(keyspace(), error.to_string()))?;
    door.guard(Arc::new(keys) as Arc<dyn KeyStore>).await?;
    let me = Instance {
        owner: format!("replay-{}-{}", host_name(), std::process::id()),
        address: door.address.to_string(),
    };
    let stores = (
        Arc::clone(&store) as Arc<dyn Store>,
        store as Arc<dyn ExperimentStore>,
    );
    let role = standalone::role(config, me, stores, models, &door.metrics)?;
    let role = Role {
        sizes: Sizes {
            material_bytes: MATERIAL_BYTES,
            ..role.sizes
        },
        ..role
    };
    let readiness = Arc::clone(&door.readiness);
    let service = Service::start(config, door, role);
    let owned = tokio::time::timeout(OWN_DEADLINE, service.hosted.until(PARTITION)).await;
    owned.map_err(|_| StartError::Owned(keyspace()))?;
    readiness.set_ready("database");
    Ok(service)
}

/// Finishes what is in progress if that is quick, and leaves the keyspace to the next owner.
pub(crate) async fn stop(service: Service) {
    service.stop(DRAIN).await;
}
