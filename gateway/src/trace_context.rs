//! W3C trace context: adopted from the caller, handed on to upstreams.

use std::collections::HashMap;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use opentelemetry::propagation::{Extractor, Injector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(hyper::header::HeaderName::as_str).collect()
    }
}

#[derive(Default)]
struct Carrier(HashMap<String, String>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
}

/// Makes the caller's span the parent of ours, where it names one.
pub fn adopt(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || !headers.contains_key("traceparent") {
        return;
    }
    let parent = opentelemetry::global::get_text_map_propagator(|p| p.extract(&Headers(headers)));
    // Fails only for a span that no tracer sees, which then needs no parent.
    let _ = span.set_parent(parent);
}

/// `traceparent` of the current span, while traces are collected.
#[must_use]
pub fn current() -> Option<HeaderValue> {
    let span = Span::current();
    if span.is_disabled() {
        return None;
    }
    let mut carrier = Carrier::default();
    let context = span.context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut carrier));
    carrier.0.get("traceparent").and_then(|text| HeaderValue::from_str(text).ok())
}
