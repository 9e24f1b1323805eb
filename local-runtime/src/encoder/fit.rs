//! Whether the parts of an encoder fit together, and what they make.

use super::config::{DEFAULT_ENCODER_MAX_TOKENS, EncoderConfig, Pooling};
use super::layout::Layout;
use super::network::{Network, Output, Role};
use super::tokens::{EncoderTokenizer, PROBE};
use super::{EncoderInfo, EncoderTask};
use crate::error::{Error, Result};

/// Length that is assumed where a model states none.
const UNSTATED_TOKENS: usize = 512;

/// Tries a loaded network out, so that what cannot work is refused when it is loaded and not at the first request.
pub(super) fn prove(layout: &Layout, tokenizer: &EncoderTokenizer, network: &mut Network) -> Result<()> {
    let unusable = |reason: String| Error::UnusableEncoder { path: layout.directory.clone(), reason };
    let (ids, known) = (tokenizer.vocabulary(), layout.vocabulary.unwrap_or(usize::MAX));
    if ids > known {
        return Err(unusable(format!("its tokenizer has {ids} ids, and its network knows {known}")));
    }
    let text = tokenizer.marked(&tokenizer.encode(PROBE)?.ids);
    network.probe(text).map_err(|error| match error {
        Error::Onnx { source, .. } => unusable(format!("its graph does not compute: {source}")),
        other => other,
    })
}

/// What a network is for, and how its vectors are pooled here.
pub(super) fn task(
    layout: &Layout,
    network: &Network,
    chosen: Option<Pooling>,
) -> Result<(EncoderTask, Option<Pooling>)> {
    let unusable = |reason: &str| {
        Err(Error::UnusableEncoder { path: layout.directory.clone(), reason: reason.to_owned() })
    };
    match (network.role, network.kind) {
        (Role::Logits, Output::Tokens) => Ok((EncoderTask::Tag, None)),
        (Role::Logits, Output::Text) => Ok((EncoderTask::Classify, None)),
        (Role::Sentence, _) if chosen.is_some() => {
            unusable("a pooling is set, and its graph gives only vectors that are pooled already")
        }
        (Role::Sentence, _) => Ok((EncoderTask::Embed, None)),
        (Role::Hidden, _) => match (chosen, layout.pooling, &layout.unsupported) {
            (Some(pooling), _, _) | (None, Some(pooling), None) => Ok((EncoderTask::Embed, Some(pooling))),
            (None, _, Some(what)) => unusable(what),
            (None, None, None) => unusable(
                "nothing in it says how the vectors of tokens become one (1_Pooling/config.json is missing); set the \
                 pooling that its model card names",
            ),
        },
    }
}

/// The longest text in tokens.
pub(super) fn limit(layout: &Layout, config: &EncoderConfig, tokenizer: &EncoderTokenizer) -> Result<usize> {
    let hard = layout.positions.unwrap_or(usize::MAX);
    let asked = config.max_tokens.map(|tokens| tokens as usize);
    let made_for = layout.made_for.unwrap_or(layout.positions.unwrap_or(UNSTATED_TOKENS));
    let limit = asked.unwrap_or(made_for.min(hard).min(DEFAULT_ENCODER_MAX_TOKENS as usize));
    let (before, after) = tokenizer.markers();
    if limit > hard {
        let reason = format!("is {limit}, and the model has positions for {hard} tokens");
        return Err(Error::InvalidConfig { field: "max_tokens", reason });
    }
    if limit <= before + after {
        let reason = format!("it reads {limit} tokens, and its markers take {}", before + after);
        return Err(Error::UnusableEncoder { path: layout.directory.clone(), reason });
    }
    Ok(limit)
}

pub(super) fn info(
    layout: &Layout,
    network: &Network,
    task: EncoderTask,
    max_tokens: usize,
) -> Result<EncoderInfo> {
    let unusable = |reason: String| Error::UnusableEncoder { path: layout.directory.clone(), reason };
    let (size, named) = (network.size.unwrap_or(0), layout.labels.len());
    let labels = match task {
        EncoderTask::Embed => Vec::new(),
        _ if named == 0 => (0..size).map(|index| format!("LABEL_{index}")).collect(),
        _ if named == size => layout.labels.clone(),
        _ => {
            return Err(unusable(format!(
                "config.json names {named} labels, and its graph gives {size} logits"
            )));
        }
    };
    let name = layout.directory.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(EncoderInfo {
        name: name.unwrap_or_default(),
        family: layout.family.clone(),
        task,
        max_tokens,
        dimensions: network.size.filter(|_| task == EncoderTask::Embed),
        labels: labels.into(),
    })
}
