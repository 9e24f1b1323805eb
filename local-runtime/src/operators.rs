//! Our own ONNX operators: products with quantised weights, rows of a table, attention over pages.
//!
//! ONNX Runtime's own operators would do (and do, for networks that come as ONNX): `MatMulNBits` and
//! `GroupQueryAttention`. Ours exist because they read fewer bytes a weight (the GGUF formats as they are, 4.6 bits instead
//! of 6.3 for Q4_K), which is what decoding speed is made of, and because rows of a step may belong to
//! different sequences at different positions, which is what continuous batching is made of. Inputs are checked against attributes in every
//! step: a damaged file gives an error, not a wrong read. A token's result never depends on the other rows of a step.

pub(crate) mod activations;
mod attention;
mod dot;
pub(crate) mod layout;
pub(crate) mod linear;
pub(crate) mod pages;

use std::sync::Arc;

use ort::operator::{ComputeContext, OperatorDomain};
use ort::value::{ValueRef, ValueRefMut};

use pages::PagePool;

/// The operators' domain in a network.
pub(crate) const DOMAIN: &str = "sluicegate";

/// The operators, for a session with that many threads. Attention keeps keys and values in `pool`.
pub(crate) fn domain(pool: &Arc<PagePool>, threads: usize) -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?
        .add(linear::Linear { threads })?
        .add(linear::Rows)?
        .add(attention::PagedAttention::new(Arc::clone(pool)))
}

/// Whether this processor has what the operators are written for. Elsewhere they work, slowly.
pub(crate) fn are_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use archmage::prelude::*;
        X64V3Token::summon().is_some()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

fn fault(what: &str) -> ort::Error {
    ort::Error::new(what)
}

fn input(context: &ComputeContext, index: usize) -> ort::Result<ValueRef<'_>> {
    context.input(index)?.ok_or_else(|| fault("an input is missing"))
}

fn floats<'v>(value: &'v mut ValueRefMut<'_>) -> ort::Result<&'v mut [f32]> {
    Ok(value.try_extract_tensor_mut::<f32>()?.1)
}
