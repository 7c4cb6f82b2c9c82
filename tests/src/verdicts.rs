//! The judges of an object's health: kstatus itself, a small Go program, and the Argo CD health check, by a Lua
//! interpreter without the libraries that Argo CD doesn't open.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

use crate::{golden, skip::skip};

/// What a judge says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: String,
    pub message: String,
}

/// Asks kstatus about objects; none, after saying so, where it can't be built.
pub fn kstatus(objects: &[Value]) -> Option<Vec<Judgement>> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(build_kstatus).as_ref().map_err(|reason| skip(reason)).ok()?;
    let input: String = objects.iter().map(|object| format!("{object}\n")).collect();
    Some(judgements(objects.len(), &output_of(&mut Command::new(program), &input)))
}

/// Runs Argo CD's health check on objects; none, after saying so, without a Lua interpreter. Argo CD's is Lua 5.1.
pub fn argo_cd(objects: &[Value]) -> Option<Vec<Judgement>> {
    let Some(lua) = ["lua5.1", "lua5.4", "lua5.3", "lua"].into_iter().find_map(on_search_path) else {
        skip("no Lua interpreter; install lua5.1");
        return None;
    };
    let mut script = String::from("local objects = {\n");
    objects.iter().for_each(|object| {
        literal(object, &mut script);
        script += ",\n";
    });
    script += "}\n";
    script += DRIVER;
    let check = golden::file("deploy/gitops/argocd/health.lua");
    Some(judgements(objects.len(), &output_of(Command::new(lua).arg("-").arg(check), &script)))
}

/// What Argo CD's sandbox has: the base library without its input, and tables. A script finds nothing else.
const DRIVER: &str = r#"
for _, object in ipairs(objects) do
  local sandbox = {
    obj = object, ipairs = ipairs, next = next, pairs = pairs, select = select, table = table, tonumber = tonumber,
    tostring = tostring, type = type,
  }
  local check = assert(loadfile(arg[1], "t", sandbox))
  if setfenv then setfenv(check, sandbox) end
  local health = check()
  io.write(health.status, "\t", (health.message or ""):gsub("\n", " "), "\n")
end
"#;

/// Builds the Go program, which takes half a minute the first time.
fn build_kstatus() -> Result<PathBuf, String> {
    let go = on_search_path("go").ok_or("no go to build kstatus with; install Go (https://go.dev/dl/)")?;
    // Several test programs may build it at once.
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let program = own.with_file_name(format!("kstatus-{}", std::process::id()));
    let mut build = Command::new(go);
    build.args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-o"]).arg(&program).arg(".");
    build.current_dir(golden::file("tests/kstatus")).env("CGO_ENABLED", "0").env("GOWORK", "off");
    let built = build.output().map_err(|error| format!("go: {error}"))?;
    if built.status.success() {
        let whole = own.with_file_name("kstatus");
        fs::rename(&program, &whole).map_err(|error| error.to_string())?;
        Ok(whole)
    } else {
        Err(format!("could not build kstatus: {}", String::from_utf8_lossy(&built.stderr)))
    }
}

/// Finds a program.
pub fn on_search_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

fn output_of(command: &mut Command, input: &str) -> String {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{piped:?}: {error}"));
    let mut stdin = child.stdin.take().expect("its input");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("its end");
    writer.join().expect("the writer").expect("it reads all");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn judgements(count: usize, text: &str) -> Vec<Judgement> {
    let judgement = |line: &str| {
        let (verdict, message) = line.split_once('\t').expect("a verdict and a message");
        Judgement { verdict: verdict.to_owned(), message: message.to_owned() }
    };
    let all: Vec<_> = text.lines().map(judgement).collect();
    assert_eq!(all.len(), count, "{text}");
    all
}

/// Writes a value as Lua writes it, null as nothing.
fn literal(value: &Value, script: &mut String) {
    match value {
        Value::Null => *script += "nil",
        Value::Bool(_) | Value::Number(_) => *script += &value.to_string(),
        Value::String(text) => quoted(text, script),
        Value::Array(items) => {
            *script += "{";
            for item in items {
                literal(item, script);
                *script += ",";
            }
            *script += "}";
        }
        Value::Object(map) => {
            *script += "{";
            for (key, item) in map {
                *script += "[";
                quoted(key, script);
                *script += "]=";
                literal(item, script);
                *script += ",";
            }
            *script += "}";
        }
    }
}

/// Every byte by its number, so that none has a meaning.
fn quoted(text: &str, script: &mut String) {
    *script += "\"";
    text.bytes().for_each(|byte| {
        let _ = write!(script, "\\{byte:03}");
    });
    *script += "\"";
}
