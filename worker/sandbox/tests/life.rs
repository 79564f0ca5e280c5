//! From its start to its end: what a program is told and tells, and that nothing of it is left.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::path::PathBuf;

use abi::channel::ReceiveError;
use abi::sandbox::{Begin, ExitStatus, FromSandbox, Level, Step, ToSandbox};
use common::{Host, Program, Who, cgroups_of, ends, probe, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox::client::{Client, ClientError};

for_root_and_for_a_user!(
    exit_codes_and_signals_are_told,
    a_script_and_its_environment,
    output_goes_to_pipes_that_can_be_opened_again,
    signals_reach_the_program,
    those_beside_a_program_end_with_it_or_linger,
    one_beside_a_program_that_ends_ends_everything,
    a_daemon_does_not_outlive_its_program,
    the_worker_ends_what_it_closes_the_channel_of,
    the_end_of_the_spawner_ends_everything,
    a_spawner_that_is_killed_takes_everything_along,
    a_prepared_program_is_executed_when_told,
    what_cannot_be_executed_is_told,
    many_at_once,
);

const NO_PATHS: Vec<PathBuf> = Vec::new();

fn exit_codes_and_signals_are_told(who: Who) {
    let mut host = Host::new(who);
    for code in [0, 1, 255] {
        let ended = host.probe(&["exit", &code.to_string()]);
        assert_eq!(ended.status, ExitStatus::Code(code));
    }
    for signal in [6, 9, 11, 15] {
        let ended = host.probe(&["raise", &signal.to_string()]);
        assert_eq!(ended.status, ExitStatus::Signal(signal));
    }
    // Signals that have no names.
    assert_eq!(host.probe(&["raise", "40"]).status, ExitStatus::Signal(40));
    assert_eq!(cgroups_of(host.client.spawner().id()), NO_PATHS);
}

fn a_script_and_its_environment(who: Who) {
    let mut host = Host::new(who);
    host.add("bootstrap", "#!/bin/sh\necho \"$0 $1 $(pwd)\"; env | sort; echo words >&2\n");
    let mut sandbox = probe(&["one two"]);
    sandbox.program = "/var/task/bootstrap".into();
    sandbox.working_directory = "/tmp".into();
    sandbox.env.push(("KEY".into(), "a=b c".into()));
    let ended = host.run(&sandbox);
    let expected = "/var/task/bootstrap one two /tmp\nKEY=a=b c\nPATH=/usr/bin:/bin\nPWD=/tmp\n";
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (expected, "words\n"));
}

fn output_goes_to_pipes_that_can_be_opened_again(who: Who) {
    let mut host = Host::new(who);
    let script =
        "#!/bin/sh\necho one > /dev/stdout; echo two > /dev/stderr; read line || echo end\n";
    host.add("bootstrap", script);
    let mut sandbox = probe(&[]);
    sandbox.program = "/var/task/bootstrap".into();
    let ended = host.run(&sandbox);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("one\nend\n", "two\n"));
}

fn those_beside_a_program_end_with_it_or_linger(who: Who) {
    let mut host = Host::new(who);
    host.add("beside", "#!/bin/sh\nexec sleep 600\n");
    for level in [Level::Full, Level::Basic] {
        let mut sandbox = probe(&["exit", "3"]);
        sandbox.level = level;
        sandbox.beside = vec!["/var/task/beside".into(); 2];
        assert_eq!(host.run(&sandbox).status, ExitStatus::Code(3));

        sandbox.args = vec!["wait".into()];
        let mut program = host.start(&sandbox);
        assert_eq!(program.line(), "ready");
        program.process.send(&ToSandbox::Linger).unwrap();
        program.process.send(&ToSandbox::Signal { signal: 15 }).unwrap();
        let (message, _) = program.process.receive().unwrap();
        assert_eq!(message, FromSandbox::ProgramEnded);
        program.process.send(&ToSandbox::Kill).unwrap();
        assert_eq!(program.wait().status, ExitStatus::Signal(15));
    }
}

fn one_beside_a_program_that_ends_ends_everything(who: Who) {
    let mut host = Host::new(who);
    host.add("short", "#!/bin/sh\nexit 5\n");
    for (beside, words) in [("short", "ended with exit status 5"), ("none", "executing")] {
        let mut sandbox = probe(&["wait"]);
        sandbox.beside = vec![format!("/var/task/{beside}")];
        let mut process = host.client.spawn(&sandbox).unwrap();
        // Without a reader of its output the program would end first, of SIGPIPE.
        let mut kept = Vec::new();
        let reason = loop {
            let (message, fd) = process.receive().unwrap();
            kept.extend(fd);
            match message {
                FromSandbox::Failed { reason, .. } => break reason,
                FromSandbox::Exited { .. } => panic!("{beside} was not told of"),
                _ => {}
            }
        };
        assert!(reason.contains(words) && reason.contains(beside), "{reason}");
        host.client.wait_ended(process.number).unwrap();
        assert!(ends(&process.pidfd));
    }
}

fn signals_reach_the_program(who: Who) {
    let mut host = Host::new(who);
    for level in [Level::Full, Level::Basic] {
        let mut sandbox = probe(&["wait"]);
        sandbox.level = level;
        let program = host.start(&sandbox);
        assert_eq!(program.line(), "ready");
        program.process.send(&ToSandbox::Signal { signal: 15 }).unwrap();
        assert_eq!(program.wait().status, ExitStatus::Signal(15));

        sandbox.args = vec!["stubborn".into()];
        let program = host.start(&sandbox);
        assert_eq!(program.line(), "ready");
        for signal in [15, 2] {
            program.process.send(&ToSandbox::Signal { signal }).unwrap();
        }
        program.process.send(&ToSandbox::Kill).unwrap();
        assert_eq!(program.wait().status, ExitStatus::Signal(9));
    }
}

fn a_daemon_does_not_outlive_its_program(who: Who) {
    let mut host = Host::new(who);
    for level in [Level::Full, Level::Basic] {
        for stays in ["0", "1"] {
            let mut sandbox = probe(&["daemon", stays]);
            sandbox.level = level;
            let program = host.start(&sandbox);
            assert_eq!(program.line(), "daemon");
            let number = program.process.number;
            if stays == "1" {
                program.process.send(&ToSandbox::Kill).unwrap();
            }
            // Reads to the end of stdout, which the daemon has too.
            program.wait();
            host.client.wait_ended(number).unwrap();
        }
    }
    assert_eq!(cgroups_of(host.client.spawner().id()), NO_PATHS);
}

fn the_worker_ends_what_it_closes_the_channel_of(who: Who) {
    let mut host = Host::new(who);
    let program = host.start(&probe(&["daemon", "1"]));
    assert_eq!(program.line(), "daemon");
    let Program { process, stdout, .. } = program;
    let number = process.number;
    drop(process);
    assert_eq!(text(stdout).unwrap(), "");
    host.client.wait_ended(number).unwrap();
    assert_eq!(cgroups_of(host.client.spawner().id()), NO_PATHS);
}

fn the_end_of_the_spawner_ends_everything(who: Who) {
    let mut host = Host::new(who);
    let mut programs = Vec::new();
    for level in [Level::Full, Level::Basic] {
        let mut sandbox = probe(&["daemon", "1"]);
        sandbox.level = level;
        programs.push(host.start(&sandbox));
    }
    assert!(programs.iter().all(|program| program.line() == "daemon"));
    let spawner = host.client.spawner().id();
    assert!(host.client.end().unwrap().success());
    for program in programs {
        assert!(ends(&program.process.pidfd));
        assert_eq!(text(program.stdout).unwrap(), "");
    }
    assert_eq!(cgroups_of(spawner), NO_PATHS);
    let scratch = format!("sockhop-native-{spawner}-");
    let left = fs::read_dir("/tmp").unwrap().flatten();
    assert!(!left.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(&scratch)));
}

fn a_spawner_that_is_killed_takes_everything_along(who: Who) {
    let mut host = Host::new(who);
    let program = host.start(&probe(&["daemon", "1"]));
    assert_eq!(program.line(), "daemon");
    let prepared = {
        let mut sandbox = probe(&["wait"]);
        sandbox.begin = Begin::WhenTold;
        host.client.spawn(&sandbox).unwrap()
    };
    let spawner = host.client.spawner().id();
    kill(Pid::from_raw(i32::try_from(spawner).unwrap()), Signal::SIGKILL).unwrap();
    assert!(ends(&program.process.pidfd) && ends(&prepared.pidfd));
    assert_eq!(text(program.stdout).unwrap(), "");
    assert!(!host.client.end().unwrap().success());
    // Its cgroups are the next spawner's to remove, which it does before it answers.
    let mut next = Host::new(who);
    next.probe(&["exit", "0"]);
    assert_eq!(cgroups_of(spawner), NO_PATHS);
}

fn a_prepared_program_is_executed_when_told(who: Who) {
    let mut host = Host::new(who);
    let mut sandbox = probe(&["exit", "7"]);
    sandbox.begin = Begin::WhenTold;
    let mut process = host.client.spawn(&sandbox).unwrap();
    let mut seen = Vec::new();
    let status = loop {
        match process.receive().unwrap().0 {
            FromSandbox::Prepared => process.send(&ToSandbox::Start).unwrap(),
            FromSandbox::Exited { status, .. } => break status,
            other => seen.push(other),
        }
    };
    assert_eq!(status, ExitStatus::Code(7));
    assert_eq!(seen, [FromSandbox::Stdout, FromSandbox::Stderr, FromSandbox::Started]);
    let process = host.client.spawn(&sandbox).unwrap();
    let number = process.number;
    drop(process);
    host.client.wait_ended(number).unwrap();
}

fn what_cannot_be_executed_is_told(who: Who) {
    let mut host = Host::new(who);
    host.add("no-interpreter", "#!/nowhere/sh\n");
    host.add("no-format", "words\n");
    fs::write(host.task().join("no-x-bit"), "#!/bin/sh\n").unwrap();
    for (name, word) in [
        ("absent", "the file is missing"),
        ("no-interpreter", "interpreter"),
        ("no-format", "neither an ELF binary"),
        ("no-x-bit", "chmod a+rx"),
    ] {
        for level in [Level::Full, Level::Basic] {
            let mut sandbox = probe(&[]);
            sandbox.program = format!("/var/task/{name}");
            sandbox.level = level;
            let (step, reason) = failure(&mut host.client, &sandbox);
            assert_eq!(step, Step::Execute, "{reason}");
            assert!(reason.contains(name) && reason.contains(word), "{reason}");
        }
    }
    let mut sandbox = probe(&[]);
    sandbox.working_directory = "/nowhere".into();
    assert_eq!(failure(&mut host.client, &sandbox).0, Step::WorkingDirectory);
    sandbox.code = 2;
    let refused = host.client.spawn(&sandbox);
    assert!(matches!(refused, Err(ClientError::SpawnFailed(reason)) if reason.contains("code 2")));
    assert_eq!(cgroups_of(host.client.spawner().id()), NO_PATHS);
}

fn failure(client: &mut Client, sandbox: &abi::sandbox::Sandbox) -> (Step, String) {
    let mut process = client.spawn(sandbox).unwrap();
    let failed = loop {
        match process.receive().unwrap().0 {
            FromSandbox::Stdout | FromSandbox::Stderr => {}
            FromSandbox::Failed { step, reason } => break (step, reason),
            other => panic!("{other:?}"),
        }
    };
    let last = process.receive();
    assert!(matches!(last, Err(ClientError::Receive(ReceiveError::Gone))), "{last:?}");
    client.wait_ended(process.number).unwrap();
    failed
}

fn many_at_once(who: Who) {
    let mut host = Host::new(who);
    let programs: Vec<Program> = (0..20).map(|_| host.start(&probe(&["wait"]))).collect();
    assert!(programs.iter().all(|program| program.line() == "ready"));
    for program in &programs {
        program.process.send(&ToSandbox::Kill).unwrap();
    }
    for program in programs {
        let number = program.process.number;
        assert_eq!(program.wait().status, ExitStatus::Signal(9));
        host.client.wait_ended(number).unwrap();
    }
    assert_eq!(cgroups_of(host.client.spawner().id()), NO_PATHS);
}

#[test]
fn junk_on_a_process_channel_ends_that_process_alone() {
    let mut host = Host::new(Who::Tester);
    let (other, spoilt) = (host.start(&probe(&["wait"])), host.start(&probe(&["wait"])));
    spoilt.process.channel.send_packet(b"junk", None).unwrap();
    assert!(ends(&spoilt.process.pidfd));
    other.process.send(&ToSandbox::Kill).unwrap();
    assert_eq!(other.wait().status, ExitStatus::Signal(9));
}

#[test]
fn a_spawner_without_a_channel_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox-spawner"))
        .arg(sandbox::SPAWNER_ARGUMENT)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("spawner"));
}
