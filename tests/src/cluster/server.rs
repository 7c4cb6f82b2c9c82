//! One server process: its output goes into a file, whose end is shown when something is wrong, and it dies with the
//! test process, however that ends.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        mpsc::{self, Sender},
    },
};

/// Lines shown of a server's output.
const TAIL: usize = 40;

/// A running server; dropping it kills it.
pub(super) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; its output is appended to `NAME.log` in the directory.
    pub(super) fn start(name: &'static str, program: &Path, arguments: Vec<String>, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let open = || OpenOptions::new().create(true).append(true).open(&log).expect("open the log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout::<File>(open()).stderr::<File>(open()).current_dir(directory);
        let child = spawn_for_good(command).unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { name, child, log }
    }

    /// Panics with the end of its output if it has ended.
    pub(super) fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("ask after a server");
        assert!(ended.is_none(), "{} has ended: {ended:?}\n{}", self.name, self.tail());
    }

    /// The end of its output.
    pub(super) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        format!("--- {} (the last {} lines)\n{}\n", self.name, tail.len(), tail.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended already. Its data is thrown away, so it need not end in good order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child that no thread's end takes along: the kernel's signal at a parent's death goes by threads, and a test's
/// thread ends before the next test.
fn spawn_for_good(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Sender<(Command, Sender<io::Result<Child>>)>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<(Command, Sender<io::Result<Child>>)>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // Who asked waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    keeper.send((command, answer)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}
