//! Generation with a real model.

use local_runtime::{ChatMessage, GenerateRequest, Role, Sampling, TokenEvent};

#[test]
fn answers() {
    let runtime = crate::smollm2();
    println!("{:?}", runtime.info());
    let input =
        runtime.render(&[ChatMessage::new(Role::User, "What is the capital of France?")]).expect("renders");
    println!("{input:?} {}", runtime.detokenize(&input));
    let request = GenerateRequest { sampling: Sampling::greedy(), ..GenerateRequest::new(input, 40) };
    for event in runtime.generate(request).expect("queued").blocking() {
        match event.expect("computes") {
            TokenEvent::Token(token) => print!("[{}]", token.text),
            TokenEvent::Done(finish) => println!("\n{finish:?}"),
        }
    }
}
