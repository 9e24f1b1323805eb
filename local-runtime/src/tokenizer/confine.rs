//! Templates run within bounds of memory, time and nesting.
//!
//! The engine counts instructions, which alone bounds little: one instruction can double a text, compare two long ones, or
//! wrap a list in a list. So a template's instructions are rewritten before they run. After each one whose result
//! or cost depends on its operands, `%check` looks at the result: it charges its size to the rendering's budget, asks
//! the clock, refuses deep nesting, and makes lists of lazy sequences, which could otherwise be chained until
//! walking them overflows the stack. Everything that is written is charged too, captured or not.
//!
//! What this bounds: the sum of the sizes of all values that a rendering makes ([`Budget`]), their nesting ([`DEPTH_MAX`]), the
//! time ([`TIME_MAX`], looked at between instructions), and with these the stack. Not bounded beyond that: a single instruction,
//! which can make at most some ten times its budget before it is charged (`split` of a long text).
//!
//! Refused when a template is loaded: inheritance, includes, recursive loops, escaping modes, unpacking in calls, and products
//! of constants, which the compiler would compute. No chat template uses them.

use std::time::{Duration, Instant};

use minijinja::machinery::{CodeGenerator, Instruction, Instructions, Token, parse, tokenize};
use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, ErrorKind, Output, State, Value};

use super::jinja;

/// Values inside values.
const DEPTH_MAX: usize = 48;
/// Longest rendering; a conversation of a thousand turns takes milliseconds.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of all values of one rendering, beyond [`OUTSIDE_COPIES`] times the outside texts.
const BUDGET_BYTES: usize = 8 << 20;
/// How often a template may copy the outside texts. Putting a turn together from five pieces copies it five times.
const OUTSIDE_COPIES: usize = 24;
/// What a value costs beside its text.
const VALUE_BYTES: usize = 24;
/// Values looked at in one rendering.
const VISITS_MAX: usize = 20_000_000;
/// Widest indentation and padding.
const WIDTH_MAX: usize = 64;

// No name that a template can write has a percent sign.
const BEGIN: &str = "%begin";
const CHECK: &str = "%check";
const STORED: &str = "%stored";

type Outcome<T> = Result<T, minijinja::Error>;

/// What a rendering may still use.
struct Budget {
    bytes: usize,
    visits: usize,
    deadline: Instant,
}

impl Budget {
    fn new(outside_bytes: usize) -> Self {
        let bytes = BUDGET_BYTES.saturating_add(outside_bytes.saturating_mul(OUTSIDE_COPIES));
        Self { bytes, visits: VISITS_MAX, deadline: Instant::now() + TIME_MAX }
    }

    fn charge(&mut self, bytes: usize) -> Outcome<()> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| fault("it makes too much text"))?;
        if Instant::now() > self.deadline {
            return Err(fault("it takes too long"));
        }
        Ok(())
    }

    /// Refuses values that are nested too deeply or too large to be walked, and namespaces inside values, which
    /// could contain themselves. Shared parts count each time, as they would when written.
    fn visit(&mut self, value: &Value, depth: usize) -> Outcome<usize> {
        self.visits = self.visits.checked_sub(1).ok_or_else(|| fault("it makes too many values"))?;
        if depth > DEPTH_MAX {
            return Err(fault(format!("it nests values deeper than {DEPTH_MAX} levels")));
        }
        if depth > 0 && is_namespace(value) {
            return Err(fault("it puts a namespace inside another value"));
        }
        let mut bytes = VALUE_BYTES + value.as_str().map_or(0, str::len);
        if let (ValueKind::Seq | ValueKind::Map | ValueKind::Iterable, Some(object)) =
            (value.kind(), value.as_object())
        {
            for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                bytes += self.visit(&key, depth + 1)? + self.visit(&item, depth + 1)?;
                if bytes > self.bytes {
                    return Err(fault("it makes too large a value"));
                }
            }
        }
        Ok(bytes)
    }
}

fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

fn fault(message: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message.into())
}

fn unsupported(what: &str) -> minijinja::Error {
    fault(format!("{what} are not supported in chat templates"))
}

fn budget<'s>(state: &'s mut State<'_, '_>) -> Outcome<&'s mut Budget> {
    state.get_extension_mut().ok_or_else(|| fault("it runs without a budget"))
}

/// Puts the bounds into an environment.
pub(super) fn confine(environment: &mut Environment<'static>) {
    environment.add_global(BEGIN, Value::from_function(begin));
    environment.add_global(CHECK, Value::from_function(check));
    environment.add_global(STORED, Value::from_function(stored));
    environment.set_formatter(write);
    environment.set_unknown_method_callback(call_method);
    environment.add_filter(
        "replace",
        |state: &mut State<'_, '_>, value: &Value, old: String, new: String| {
            let text = value.to_string();
            expect_replace(state, &text, &old, &new)?;
            Ok::<_, minijinja::Error>(text.replace(&old, &new))
        },
    );
    environment.add_filter("join", |state: &mut State<'_, '_>, value: &Value, options: Rest<Value>| {
        expect_join(state, value, options.first().and_then(Value::as_str).unwrap_or_default())?;
        let arguments: Vec<Value> = std::iter::once(value.clone()).chain(options.0).collect();
        state.apply_filter("%join", &arguments)
    });
    environment.add_filter("%join", minijinja::filters::join);
    environment.add_filter("indent", |state: &mut State<'_, '_>, value: &Value, options: Rest<Value>| {
        let lines = value.as_str().map_or(0, |text| text.lines().count());
        let named = |option: &Value| option.get_attr("width").ok().and_then(|width| width.as_usize());
        let width = options.iter().filter_map(|option| option.as_usize().or_else(|| named(option))).max();
        let width = width.unwrap_or(4);
        if width > WIDTH_MAX {
            return Err(fault(format!("it indents by {width}; {WIDTH_MAX} are allowed")));
        }
        budget(state)?.charge(lines * width)?;
        let arguments: Vec<Value> = std::iter::once(value.clone()).chain(options.0).collect();
        state.apply_filter("%indent", &arguments)
    });
    environment.add_filter("%indent", minijinja::filters::indent);
    // Padded and repeated results whose size is not that of their operands; no chat template uses them.
    for name in ["format", "batch", "slice", "sum", "pprint", "center"] {
        environment.remove_filter(name);
    }
}

fn begin(state: &mut State<'_, '_>, outside_bytes: usize) {
    state.get_or_insert_extension(Budget::new(outside_bytes));
}

/// Looks at a value that an instruction made, and returns it.
fn check(state: &mut State<'_, '_>, value: Value) -> Outcome<Value> {
    let budget = budget(state)?;
    match value.kind() {
        ValueKind::String => budget.charge(value.as_str().map_or(0, str::len))?,
        ValueKind::Seq | ValueKind::Iterable if !value.is_tuple() => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                budget.charge(VALUE_BYTES)?;
                items.push(item);
            }
            let value =
                if value.downcast_object_ref::<Vec<Value>>().is_some() { value } else { Value::from(items) };
            budget.visit(&value, 0)?;
            return Ok(value);
        }
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            budget.charge(VALUE_BYTES * value.len().unwrap_or(1))?;
            budget.visit(&value, 0)?;
        }
        _ => budget.charge(0)?,
    }
    Ok(value)
}

/// The same for what goes into a namespace.
fn stored(state: &mut State<'_, '_>, value: Value) -> Outcome<Value> {
    if is_namespace(&value) {
        return Err(fault("it puts a namespace inside another value"));
    }
    check(state, value)
}

/// Writes a value, into the output or a capture.
fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Outcome<()> {
    let budget = budget(state)?;
    let bytes = match value.as_str() {
        Some(text) => text.len(),
        None => budget.visit(value, 0)?,
    };
    budget.charge(bytes)?;
    minijinja::escape_formatter(out, state, value)
}

fn call_method(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Outcome<Value> {
    let text = |index: usize| arguments.get(index).and_then(Value::as_str);
    match (name, value.as_str()) {
        ("replace", Some(whole)) => {
            if let (Some(old), Some(new)) = (text(0), text(1)) {
                expect_replace(state, whole, old, new)?;
            }
        }
        ("join", Some(separator)) => {
            if let Some(list) = arguments.first() {
                expect_join(state, list, separator)?;
            }
        }
        ("format", Some(_)) => return Err(unsupported("`format` calls")),
        _ => {}
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
}

fn expect_replace(state: &mut State<'_, '_>, text: &str, old: &str, new: &str) -> Outcome<()> {
    let found = text.matches(old).count();
    budget(state)?.charge(found.saturating_mul(new.len()))
}

fn expect_join(state: &mut State<'_, '_>, list: &Value, separator: &str) -> Outcome<()> {
    let budget = budget(state)?;
    let bytes = budget.visit(list, 0)?;
    budget.charge(bytes.saturating_add(list.len().unwrap_or(0).saturating_mul(separator.len())))
}

/// Compiles a template and puts the checks in. `outside_bytes` is the length of the texts that it will see.
pub(super) fn compile<'s>(name: &'s str, source: &'s str, outside_bytes: usize) -> Outcome<Instructions<'s>> {
    refuse_constant_products(source)?;
    let parsed = parse(source, name, jinja::syntax()?)?;
    let mut generator = CodeGenerator::new(name, source);
    generator.compile_stmt(&parsed);
    let (instructions, blocks) = generator.finish();
    if !blocks.is_empty() {
        return Err(unsupported("blocks"));
    }
    rewrite(name, source, &instructions, outside_bytes)
}

fn rewrite<'s>(
    name: &'s str,
    source: &'s str,
    old: &Instructions<'s>,
    outside_bytes: usize,
) -> Outcome<Instructions<'s>> {
    let mut sequences = Vec::new();
    while let Some(instruction) = old.get(sequences.len() as u32) {
        sequences.push(checked(instruction)?);
    }
    let prelude = [
        Instruction::LoadConst(Value::from(outside_bytes)),
        Instruction::CallFunction(BEGIN, Some(1)),
        Instruction::DiscardTop,
    ];
    let mut position = prelude.len() as u32;
    let mut starts = Vec::with_capacity(sequences.len() + 1);
    for sequence in &sequences {
        starts.push(position);
        position += sequence.len() as u32;
    }
    starts.push(position);
    let mut new = Instructions::new(name, source);
    for instruction in prelude {
        new.add(instruction);
    }
    for (index, sequence) in sequences.into_iter().enumerate() {
        let line = old.get_line(index as u32).map_or(0, |line| u16::try_from(line).unwrap_or(u16::MAX));
        for mut instruction in sequence {
            relocate(&mut instruction, &starts);
            new.add_with_line(instruction, line);
        }
    }
    Ok(new)
}

/// An instruction with the checks that belong to it.
fn checked<'s>(instruction: &Instruction<'s>) -> Outcome<Vec<Instruction<'s>>> {
    use Instruction as I;
    let check = I::CallFunction(CHECK, Some(1));
    Ok(match instruction {
        // Through the writer, like everything else.
        I::EmitRaw(text) => vec![I::LoadConst(Value::from(*text)), I::Emit],
        // What is stored in a namespace outlives the expression that made it.
        I::SetAttr(_) => {
            vec![I::Swap, I::CallFunction(STORED, Some(1)), I::Swap, instruction.clone()]
        }
        I::Slice
        | I::BuildMap(_)
        | I::BuildList(_)
        | I::BuildTuple(Some(_))
        | I::Add
        | I::Mul
        | I::Pow
        | I::Eq
        | I::Ne
        | I::Gt
        | I::Gte
        | I::Lt
        | I::Lte
        | I::In
        | I::StringConcat
        | I::ApplyFilter(..)
        | I::PerformTest(..)
        | I::EndCapture
        | I::CallFunction(..)
        | I::CallMethod(..)
        | I::CallObject(_) => vec![instruction.clone(), check],
        I::CompareAndPreserve(_) => vec![instruction.clone(), check],
        I::PushLoop(flags) if flags & 2 != 0 => return Err(unsupported("recursive loops")),
        I::FastRecurse => return Err(unsupported("recursive loops")),
        I::BuildTuple(None) | I::UnpackLists(_) | I::MergeKwargs(_) => {
            return Err(unsupported("unpacked arguments"));
        }
        I::PushAutoEscape | I::PopAutoEscape => return Err(unsupported("escaping modes")),
        I::FastSuper | I::CallBlock(_) | I::LoadBlocks | I::Include(_) | I::ExportLocals => {
            return Err(unsupported("other templates"));
        }
        other => vec![other.clone()],
    })
}

fn relocate(instruction: &mut Instruction<'_>, starts: &[u32]) {
    use Instruction as I;
    let (I::Jump(target)
    | I::JumpIfFalse(target)
    | I::JumpIfFalseOrPop(target)
    | I::JumpIfTrueOrPop(target)
    | I::Iterate(target)
    | I::BuildMacro(_, target, _)) = instruction
    else {
        return;
    };
    *target = starts[(*target as usize).min(starts.len() - 1)];
}

/// The compiler computes what it can, `'x' * 100000000` among it, before anything is counted.
fn refuse_constant_products(source: &str) -> Outcome<()> {
    let tokens: Vec<Token<'_>> = tokenize(source, false, jinja::syntax()?)
        .map(|token| token.map(|(token, _)| token))
        .collect::<Outcome<_>>()?;
    let is_number =
        |token: Option<&Token<'_>>| matches!(token, Some(Token::Int(_) | Token::Float(_) | Token::Ident(_)));
    for (index, token) in tokens.iter().enumerate() {
        if !matches!(token, Token::Mul | Token::Pow) {
            continue;
        }
        let before = index.checked_sub(1).and_then(|index| tokens.get(index));
        let closes_call = matches!(before, Some(Token::ParenClose));
        if !(is_number(before) || closes_call) || !is_number(tokens.get(index + 1)) {
            return Err(unsupported("products of anything but names and numbers"));
        }
        if closes_call && !group_has_name(&tokens[..index]) {
            return Err(unsupported("products of constants"));
        }
    }
    Ok(())
}

/// Whether the parentheses that close at the end of these tokens hold a name, so that they are no constant.
fn group_has_name(tokens: &[Token<'_>]) -> bool {
    let mut depth = 0;
    for token in tokens.iter().rev() {
        match token {
            Token::ParenClose => depth += 1,
            Token::ParenOpen => depth -= 1,
            Token::Ident(name)
                if !matches!(
                    *name,
                    "true" | "false" | "none" | "True" | "False" | "None" | "not" | "and" | "or"
                ) =>
            {
                return true;
            }
            _ => {}
        }
        if depth == 0 {
            return false;
        }
    }
    false
}
