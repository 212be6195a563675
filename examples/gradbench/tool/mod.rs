//! The protocol: what is answered to a message.
//!
//! A message is an object on a line, with an `id` that its answer repeats. `define` asks
//! whether there is a module, `evaluate` runs one of its functions; anything else is
//! answered with the bare `id`. What cannot be done is an answer that says why.

mod ba;
mod det;
mod gmm;
mod hello;
mod input;
mod kmeans;
mod llsq;
mod lse;
mod lstm;
mod ode;
mod run;

use serde::Deserialize;
use serde_json::{Value, json};

use run::{Function, Run};

/// Everything that can be asked for: a module, and its functions by name.
const MODULES: &[(&str, &[(&str, Function)])] = &[
    ("ba", ba::FUNCTIONS),
    ("det", det::FUNCTIONS),
    ("gmm", gmm::FUNCTIONS),
    ("hello", hello::FUNCTIONS),
    ("kmeans", kmeans::FUNCTIONS),
    ("llsq", llsq::FUNCTIONS),
    ("lse", lse::FUNCTIONS),
    ("lstm", lstm::FUNCTIONS),
    ("ode", ode::FUNCTIONS),
];

/// A conversation. Nothing is kept from one message to the next: each evaluation compiles
/// its program, and says how long that took.
pub struct Session {
    threads: usize,
}

/// What a message says before what it asks for is known; the input is read later, by
/// whoever knows what it is.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Value,
    kind: String,
    #[serde(default)]
    module: String,
    #[serde(default)]
    function: String,
}

impl Session {
    /// With programs that may run on so many threads.
    pub fn new(threads: usize) -> Self {
        Self { threads }
    }

    /// The answer to a line.
    pub fn answer(&self, line: &str) -> String {
        let message: Message = match serde_json::from_str(line) {
            Ok(message) => message,
            Err(error) => {
                let id = serde_json::from_str::<Value>(line).ok();
                let id = id.and_then(|message| message.get("id").cloned());
                return refused(&id.unwrap_or_default(), &format!("not a message: {error}"));
            }
        };
        let id = &message.id;
        match message.kind.as_str() {
            "start" => json!({ "id": id, "tool": "backstitch" }).to_string(),
            "define" => match functions(&message.module) {
                Ok(_) => json!({ "id": id, "success": true }).to_string(),
                Err(why) => refused(id, &why),
            },
            "evaluate" => match self.evaluate(&message, line) {
                Ok((output, run)) => {
                    let timings = run.timings();
                    json!({ "id": id, "success": true, "output": output, "timings": timings })
                        .to_string()
                }
                Err(error) => refused(id, &error.to_string()),
            },
            _ => json!({ "id": id }).to_string(),
        }
    }

    fn evaluate(&self, message: &Message, line: &str) -> run::Result<(Value, Run)> {
        let Message { module, function, .. } = message;
        let (_, f) = functions(module)?
            .iter()
            .find(|(name, _)| name == function)
            .ok_or_else(|| format!("`{module}` has no function `{function}`"))?;
        let mut run = Run::new(self.threads);
        let output = f(line, &mut run)?;
        Ok((output, run))
    }
}

/// The functions of a module.
fn functions(module: &str) -> Result<&'static [(&'static str, Function)], String> {
    let found = MODULES.iter().find(|(name, _)| *name == module);
    found.map(|(_, functions)| *functions).ok_or_else(|| format!("there is no module `{module}`"))
}

fn refused(id: &Value, why: &str) -> String {
    json!({ "id": id, "success": false, "error": why }).to_string()
}
