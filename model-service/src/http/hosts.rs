//! The host names under which this service accepts requests. A page of another site can point its
//! own name to this address (DNS rebinding), but a browser then sends that name.

use std::net::{IpAddr, SocketAddr};

use crate::config::Http;

/// The accepted names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// Every name.
    Any,
    /// Only these, in lower case.
    These {
        /// Names and addresses, without ports.
        names: Vec<String>,
        /// Whether every loopback name is accepted, too.
        loopback: bool,
    },
}

impl Hosts {
    /// The names for a listener that is `bound` and that others reach at `advertised`.
    pub(crate) fn new(config: &Http, bound: SocketAddr, advertised: &str) -> Self {
        let loopback = bound.ip().is_loopback();
        if config.hosts.is_empty() && !loopback {
            return Self::Any;
        }
        let mut names = config.hosts.clone();
        names.push(host_of(advertised));
        Self::These { names, loopback }
    }

    /// Whether a request may name this host, with or without a port.
    pub(super) fn accept(&self, named: &str) -> bool {
        let Self::These { names, loopback } = self else {
            return true;
        };
        let host = host_of(named);
        names.contains(&host) || (*loopback && is_loopback(&host))
    }
}

/// The host without its port, in lower case; IPv6 addresses without brackets.
fn host_of(named: &str) -> String {
    let host = match named.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => match named.rsplit_once(':') {
            // More than one colon: an IPv6 address without brackets.
            Some((host, _)) if !host.contains(':') => host,
            _ => named,
        },
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host,
    }
}

fn is_loopback(host: &str) -> bool {
    let is_address = host
        .parse()
        .is_ok_and(|address: IpAddr| address.to_canonical().is_loopback());
    is_address || host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};

    fn hosts(bound: &str, flags: &[(&'static str, &str)]) -> Hosts {
        let values = flags
            .iter()
            .map(|(key, text)| (*key, (*text).to_owned()))
            .collect();
        let flags = Flags { file: None, values };
        let nowhere = std::path::Path::new("/nonexistent");
        let (config, _) = Config::resolve(&flags, [], nowhere).expect("a configuration");
        let bound = bound.parse().expect("an address");
        let advertised = config.http.advertised(bound, "box-7");
        Hosts::new(&config.http, bound, &advertised)
    }

    #[test]
    fn a_loopback_listener_is_asked_under_loopback_names_and_its_own() {
        let plain = hosts("127.0.0.1:8080", &[]);
        for name in [
            "localhost",
            "LOCALHOST.:8080",
            "127.0.0.1:8080",
            "127.3.2.1",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "kindred.localhost",
        ] {
            assert!(plain.accept(name), "{name}");
        }
        for name in [
            "",
            "evil.example",
            "localhost.evil.example",
            "10.0.0.7",
            "127.0.0.1.evil.example:8080",
            "[::2]",
        ] {
            assert!(!plain.accept(name), "{name}");
        }
        let known = hosts(
            "[::1]:8080",
            &[
                ("hosts", "kindred.example,10.0.0.7"),
                ("advertise", "one.internal:80"),
            ],
        );
        for name in [
            "Kindred.Example:443",
            "10.0.0.7",
            "one.internal",
            "localhost",
        ] {
            assert!(known.accept(name), "{name}");
        }
        assert!(!known.accept("two.internal"));
    }

    #[test]
    fn other_listeners_check_only_when_told() {
        assert_eq!(hosts("0.0.0.0:8080", &[]), Hosts::Any);
        let told = hosts("0.0.0.0:8080", &[("hosts", "kindred.example")]);
        assert!(told.accept("kindred.example") && told.accept("box-7:8080"));
        assert!(!told.accept("localhost") && !told.accept("10.0.0.7"));
    }
}
