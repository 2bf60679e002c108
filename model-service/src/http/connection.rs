//! A connection that does not wait forever for its client: neither for the head of a request, nor
//! for the client to read an answer. How long a body may take is up to [`super::body`].

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::callers::Connected;
use super::gate::Pass;

/// How long a client may keep the server waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// For the complete head of a request, from its first byte on.
    pub(crate) head: Duration,
    /// For the client to read some 64 KiB of an answer.
    pub(crate) write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            write: Duration::from_secs(30),
        }
    }
}

/// What the handlers tell a connection about its requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Number of requests whose heads have arrived.
    begun: Cell<u64>,
    /// Number of them that are not answered yet.
    open: Cell<usize>,
    /// Whose connection it is: the key's that was used last.
    connected: RefCell<Option<Connected>>,
}

impl Requests {
    /// From now on the connection counts for this key, if it does not yet; `connect` counts it.
    ///
    /// # Errors
    /// Those of `connect`.
    pub(super) fn is_of<E>(
        &self,
        key: &str,
        connect: impl FnOnce() -> Result<Option<Connected>, E>,
    ) -> Result<(), E> {
        let mut connected = self.connected.borrow_mut();
        if !connected.as_ref().is_some_and(|now| now.is_of(key)) {
            *connected = connect()?;
        }
        Ok(())
    }

    /// The head of a request has arrived; its answer is complete once this is dropped.
    pub(crate) fn begin(self: &Rc<Self>) -> Request {
        self.begun.set(self.begun.get() + 1);
        self.open.set(self.open.get() + 1);
        Request(Rc::clone(self))
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Request(Rc<Requests>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

/// A client's connection.
pub(crate) struct Connection<S> {
    stream: S,
    requests: Rc<Requests>,
    /// The number of requests at the last check.
    seen: u64,
    head: Deadline,
    write: Deadline,
    /// Its place in the gate.
    _pass: Pass,
}

impl<S> Connection<S> {
    /// A connection over a stream.
    pub(crate) fn new(stream: S, deadlines: Deadlines, pass: Pass) -> Self {
        Self {
            stream,
            requests: Rc::default(),
            seen: 0,
            head: Deadline::after(deadlines.head),
            write: Deadline::after(deadlines.write),
            _pass: pass,
        }
    }

    /// Where handlers report the requests of this connection.
    pub(crate) fn requests(&self) -> Rc<Requests> {
        Rc::clone(&self.requests)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let begun = this.requests.begun.get();
        if begun != this.seen {
            this.seen = begun;
            this.head.stop();
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        // Bytes that arrive while a request is answered belong to its body, or to the head of a
        // request that has to wait.
        if this.requests.open.get() > 0 {
            this.head.stop();
            return read;
        }
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.head.start();
                read
            }
            Poll::Ready(_) => read,
            Poll::Pending => this
                .head
                .poll(cx, "the head of a request did not arrive in time"),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Pending => {
                this.write.start();
                this.write.poll(cx, "an answer was not read in time")
            }
            written @ Poll::Ready(_) => written,
        }
    }

    /// The server flushes after writing the whole piece of an answer that it holds.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                this.write.stop();
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                this.write.start();
                this.write.poll(cx, "an answer was not read in time")
            }
            failed @ Poll::Ready(_) => failed,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_shutdown(cx) {
            Poll::Pending => {
                this.write.start();
                this.write.poll(cx, "the connection was not closed in time")
            }
            done @ Poll::Ready(_) => done,
        }
    }
}

/// A time limit for waiting.
struct Deadline {
    after: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn after(after: Duration) -> Self {
        Self { after, timer: None }
    }

    /// Starts, unless it has started.
    fn start(&mut self) {
        if self.timer.is_none() {
            self.timer = Some(Box::pin(tokio::time::sleep(self.after)));
        }
    }

    fn stop(&mut self) {
        self.timer = None;
    }

    /// Wakes the task when the time is over, and then returns an error.
    fn poll<T>(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<io::Result<T>> {
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what))),
            Poll::Pending => Poll::Pending,
        }
    }
}
