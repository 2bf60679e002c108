//! The section of HTTP.

use std::net::SocketAddr;

use super::section::Role::{Client, ComputeWorker, ModelService, Standalone, Temporary};
use super::section::{Validate, section};
use super::values;

section! {
    /// Where HTTP listens, and where others reach it.
    struct Http;

    /// Address and port HTTP listens on; port 0 takes any free one.
    listen: SocketAddr = "127.0.0.1:8080" {
        roles: &[Standalone, Temporary, ModelService, Client],
        expects: "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
        read: values::address,
        show: SocketAddr::to_string,
    }

    /// Address and port on which other instances reach this one's HTTP; empty: as in listen, with
    /// the host's name where listen takes every address.
    advertise: Option<String> = "" {
        roles: &[ModelService],
        expects: "a host and a port, such as kindred-1.internal:8080, or nothing",
        read: values::advertise,
        show: |address| address.clone().unwrap_or_default(),
    }

    /// Address and port on which the compute worker answers /healthz, /readyz and /metrics;
    /// empty: it listens nowhere.
    worker_listen: Option<SocketAddr> = "" {
        roles: &[ComputeWorker],
        expects: "an IP address and a port, such as 127.0.0.1:8081, or nothing",
        read: values::optional_address,
        show: |address| address.map(|a| a.to_string()).unwrap_or_default(),
    }
}

impl Validate for Http {}

impl Http {
    /// The address on which other instances reach this one: `advertise`, else where HTTP is
    /// `bound`; an address that means "every one" is useless to others, so `host`, the machine's
    /// name, stands in for it.
    pub fn advertised(&self, bound: SocketAddr, host: &str) -> String {
        match &self.advertise {
            Some(address) => address.clone(),
            None if bound.ip().is_unspecified() => format!("{host}:{}", bound.port()),
            None => bound.to_string(),
        }
    }
}
