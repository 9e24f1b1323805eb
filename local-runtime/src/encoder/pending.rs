//! A result that is still being computed, for asynchronous callers and for those that are not.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use tokio::sync::oneshot;

use super::queue::Answer;
use crate::error::{Error, Result};

/// A result that is still being computed: awaited, or waited for by [`Pending::wait`]. Dropping it cancels the request.
///
/// # Cancel safety
/// Safe: the result stays until it is taken.
pub struct Pending<T> {
    pub(super) receiver: oneshot::Receiver<Result<Answer>>,
    pub(super) finish: Option<Box<dyn FnOnce(Answer) -> T + Send>>,
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let answer = std::task::ready!(Pin::new(&mut self.receiver).poll(context));
        let finish = self.finish.take().ok_or(Error::WorkerGone)?;
        Poll::Ready(answer.unwrap_or(Err(Error::WorkerGone)).map(finish))
    }
}

impl<T> Pending<T> {
    /// Waits on this thread, which may be one of an asynchronous executor (and then holds it up).
    ///
    /// # Errors
    /// What the computation failed with.
    pub fn wait(mut self) -> Result<T> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut context) {
                Poll::Ready(result) => return result,
                Poll::Pending => std::thread::park(),
            }
        }
    }
}
