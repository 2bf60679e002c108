//! Configuration of HTTP.

use std::net::SocketAddr;

use super::section::Role::{self, Client, ComputeWorker, ModelService, Standalone, Temporary};
use super::section::{Validate, section};
use super::values::{self, Network};

/// Roles that serve HTTP.
const SERVING: &[Role] = &[Standalone, Temporary, ModelService];

section! {
    /// The addresses that HTTP listens on and is reached at, and its limits.
    struct Http;

    /// Address and port HTTP listens on; port 0 takes any free one.
    listen: SocketAddr = "127.0.0.1:8080" {
        roles: &[Standalone, Temporary, ModelService, Client],
        expects: "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
        read: values::address,
        show: SocketAddr::to_string,
    }

    /// Address and port at which other instances reach this one's HTTP; empty: as in listen, with the host's name if
    /// listen is an unspecified address.
    advertise: Option<String> = "" {
        roles: &[ModelService],
        expects: "a host and a port, such as kindred-1.internal:8080, or nothing",
        read: values::advertise,
        show: |address| address.clone().unwrap_or_default(),
    }

    /// Host names and addresses, without ports, that requests may name (the Host header), separated by commas; empty:
    /// any, but on a loopback address only localhost, loopback addresses and the host of advertise.
    hosts: Vec<String> = "" {
        roles: &[Standalone, ModelService],
        expects: "names or addresses separated by commas, such as kindred.example,10.0.0.7, or nothing",
        read: values::host_names,
        show: |hosts| hosts.join(","),
    }

    /// Address and port that serve /metrics without a key; empty: /metrics is served with everything else, and
    /// requires the grant metrics once there is a key.
    metrics_listen: Option<SocketAddr> = "" {
        roles: &[Standalone, ModelService],
        expects: "an IP address and a port, such as 127.0.0.1:9100, or nothing",
        read: values::optional_address,
        show: |address| address.map(|a| a.to_string()).unwrap_or_default(),
    }

    /// Connections that may be open at once.
    connections: usize = "1024" {
        roles: SERVING,
        expects: "a whole number of 1 to 1000000",
        read: |text| values::count(text, 1, 1_000_000),
        show: usize::to_string,
    }

    /// Connections that may be open at once from one address; in IPv6, from one /64 network.
    connections_per_address: usize = "256" {
        roles: SERVING,
        expects: "a whole number of 1 to 1000000",
        read: |text| values::count(text, 1, 1_000_000),
        show: usize::to_string,
    }

    /// Connections that may be open at once per key; a connection counts for the key that was last used on it.
    connections_per_key: usize = "256" {
        roles: SERVING,
        expects: "a whole number of 1 to 1000000",
        read: |text| values::count(text, 1, 1_000_000),
        show: usize::to_string,
    }

    /// Requests that may be in progress at once per key.
    requests_per_key: usize = "256" {
        roles: SERVING,
        expects: "a whole number of 1 to 1000000",
        read: |text| values::count(text, 1, 1_000_000),
        show: usize::to_string,
    }

    /// Addresses or networks of proxies in front of this service, separated by commas: connections from these are
    /// not counted per address.
    trusted_proxies: Vec<Network> = "" {
        roles: SERVING,
        expects: "addresses or networks separated by commas, such as 10.0.0.7,192.168.0.0/16, or nothing",
        read: values::networks,
        show: |networks| values::show_networks(networks),
    }

    /// Address and port on which the compute worker answers /healthz, /readyz and /metrics;
    /// empty: none.
    worker_listen: Option<SocketAddr> = "" {
        roles: &[ComputeWorker],
        expects: "an IP address and a port, such as 127.0.0.1:8081, or nothing",
        read: values::optional_address,
        show: |address| address.map(|a| a.to_string()).unwrap_or_default(),
    }
}

impl Validate for Http {}

impl Http {
    /// The address on which other instances reach this one: `advertise`, else the address that HTTP is `bound` to. An
    /// unspecified address is useless to others, so `host`, the machine's name, replaces it.
    pub fn advertised(&self, bound: SocketAddr, host: &str) -> String {
        match &self.advertise {
            Some(address) => address.clone(),
            None if bound.ip().is_unspecified() => format!("{host}:{}", bound.port()),
            None => bound.to_string(),
        }
    }
}
