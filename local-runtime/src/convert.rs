//! GGUF to ONNX.
use crate::{
    artifact::Progress,
    error::{Error, Result},
};
use std::path::Path;

/// What to convert and where to.
pub(crate) struct Request<'a> {
    pub(crate) gguf: &'a Path,
    pub(crate) out: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) source_sha256: Option<&'a str>,
    pub(crate) licence: Option<&'a str>,
}
pub(crate) fn convert(request: &Request<'_>, _progress: &dyn Progress) -> Result<()> {
    let _ = (request.out, request.name, request.source_sha256, request.licence);
    Err(Error::Unsupported { path: request.gguf.to_path_buf(), reason: "not built yet".to_owned() })
}
