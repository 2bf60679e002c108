//! What a broker says about itself before anyone logs in.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest wait to connect, and for the greeting.
const ANSWER: Duration = Duration::from_secs(5);
/// The protocol's name and version: AMQP 0-9-1.
const HELLO: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// Bytes of a frame before its payload: type, channel, length.
const FRAME_HEAD: usize = 7;
/// Longest greeting that is accepted, in bytes.
const LONGEST: usize = 64 << 10;
/// A frame that carries a method.
const METHOD: u8 = 1;
/// `connection.start`: class 10, method 10.
const START: [u8; 4] = [0, 10, 0, 10];

/// What a broker says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Greeting {
    /// Usually `RabbitMQ`.
    pub(in super::super) product: String,
    /// Such as `3.10.8`.
    pub(in super::super) version: String,
}

/// Asks the broker at an address without TLS.
///
/// # Errors
/// A message, when nothing answers there, or something other than an AMQP broker.
pub(super) fn ask(host: &str, port: u16) -> Result<Greeting, String> {
    let words = |error: std::io::Error| format!("no answer: {error}");
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("unknown host {host}: {error}"))?;
    let mut last = format!("host {host} has no address");
    for address in addresses {
        let mut stream = match TcpStream::connect_timeout(&address, ANSWER) {
            Ok(stream) => stream,
            Err(error) => {
                last = words(error);
                continue;
            }
        };
        stream.set_read_timeout(Some(ANSWER)).map_err(words)?;
        stream.write_all(HELLO).map_err(words)?;
        let mut head = [0; FRAME_HEAD];
        stream.read_exact(&mut head).map_err(words)?;
        let [kind, _, _, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if kind != METHOD || length > LONGEST {
            return Err("what answers there does not speak AMQP 0-9-1".to_owned());
        }
        let mut start = vec![0; length];
        stream.read_exact(&mut start).map_err(words)?;
        return read(&start).ok_or_else(|| "its greeting cannot be understood".to_owned());
    }
    Err(last)
}

/// Reads a `connection.start`.
fn read(start: &[u8]) -> Option<Greeting> {
    start.starts_with(&START).then_some(())?;
    Some(Greeting {
        product: property(start, "product")?,
        version: property(start, "version")?,
    })
}

/// A string among the server's properties: the name with its length before it, `S`, the value with
/// its length before it.
fn property(start: &[u8], name: &str) -> Option<String> {
    let mut key = vec![u8::try_from(name.len()).ok()?];
    key.extend_from_slice(name.as_bytes());
    key.push(b'S');
    let at = start.windows(key.len()).position(|bytes| bytes == key)?;
    let rest = start.get(at + key.len()..)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    Some(String::from_utf8_lossy(rest.get(..length)?).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> Vec<u8> {
        let mut start = [&START[..], &[0, 9, 0, 0, 0, 60]].concat();
        for (key, value) in [("product", "RabbitMQ"), ("version", "4.1.2")] {
            start.push(key.len() as u8);
            start.extend_from_slice(key.as_bytes());
            start.push(b'S');
            start.extend_from_slice(&(value.len() as u32).to_be_bytes());
            start.extend_from_slice(value.as_bytes());
        }
        start
    }

    #[test]
    fn finds_product_and_version() {
        let greeting = read(&start()).unwrap();
        assert_eq!(
            (greeting.product.as_str(), greeting.version.as_str()),
            ("RabbitMQ", "4.1.2")
        );
        assert_eq!(read(&start()[..30]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            at in 0_usize..60,
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut damaged = start();
            damaged.truncate(at);
            damaged.extend(bytes);
            read(&damaged);
        }
    }
}
