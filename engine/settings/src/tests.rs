//! Settings from all layers at once: which one counts, what is said of mistakes, and that the guide
//! says the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use abi::function::nearest::nearest;
use clap::{ArgAction, FromArgMatches as _};
use proptest::prelude::*;

use super::file::read;
use super::layer::{Flags, Given, Origin, definition, environment, variable_of};
use super::mistake::{Mistake, Mistakes, check, keys};
use super::resolve::{Resolved, merge};

const GUIDE: &str = include_str!("../../guide/settings.md");

/// Resolves what would stand on the command line, in the environment and in a file.
fn resolve(flags: &[&str], variables: &[(&str, &str)], file: &str) -> Result<Resolved, String> {
    let (file, mut mistakes) = read(Path::new("/etc/sockhop.toml"), file);
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let environment = environment(|name| variables.get(name).map(OsString::from));
    let matches = definition().try_get_matches_from(flags).map_err(|error| error.to_string())?;
    let flags = Flags::from_arg_matches(&matches).unwrap().0;
    let settings = definition();
    for given in environment.iter().chain(&file) {
        let setting =
            settings.get_arguments().find(|setting| *setting.get_id() == *given.key).unwrap();
        mistakes.extend(check(given, setting, &settings).err());
    }
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes).to_string());
    }
    Resolved::new(merge([flags, environment, file])).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn a_new_setting_takes_a_value_has_help_and_says_whether_sighup_reads_it() {
    for setting in definition().get_arguments() {
        let key = setting.get_id();
        assert!(
            matches!(setting.get_action(), ArgAction::Set | ArgAction::Append),
            "{key}: see `Settings`"
        );
        assert!(setting.get_help().is_some(), "{key}");
        assert!(
            [super::FIXED, super::RELOADED].map(Some).contains(&setting.get_help_heading()),
            "{key}"
        );
    }
}

#[test]
fn each_layer_wins_over_those_below_and_says_so() {
    let file = "head_timeout = \"1s\"\nidle_timeout = \"2s\"\nwrite_timeout = \"3s\"\n";
    let variables =
        [("SOCKHOP_HEAD_TIMEOUT", "4s"), ("SOCKHOP_IDLE_TIMEOUT", "5s"), ("SOCKHOP_DOMAIN", "")];
    let resolved = resolve(&["--head-timeout", "6s"], &variables, file).unwrap();
    let settings = &resolved.settings;
    let seconds = [settings.head_timeout, settings.idle_timeout, settings.write_timeout]
        .map(|time| time.as_secs());
    assert_eq!(seconds, [6, 5, 3]);
    assert_eq!(*settings.drain_timeout, abi::limits::DRAIN_TIMEOUT_DEFAULT);
    assert_eq!(settings.domain, None, "a variable without text is not set");
    for (key, source) in [
        ("head_timeout", "--head-timeout"),
        ("idle_timeout", "SOCKHOP_IDLE_TIMEOUT"),
        ("write_timeout", "write_timeout in \"/etc/sockhop.toml\" line 3 column 17"),
        ("drain_timeout", "the default of drain_timeout"),
    ] {
        assert_eq!(resolved.source_of(key), source);
    }
}

#[test]
fn lists_are_repeated_separated_by_commas_or_arrays_and_not_added_up() {
    let listen = |flags: &[&str], variables: &[(&str, &str)], file| {
        let listen = resolve(flags, variables, file).unwrap().settings.listen;
        listen.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (two, variable) = (["a:1".to_owned(), "b:2".to_owned()], [("SOCKHOP_LISTEN", "a:1, b:2")]);
    assert_eq!(listen(&["--listen", "a:1", "--listen", "b:2"], &[], "listen = \"c:3\""), two);
    assert_eq!(listen(&[], &variable, "listen = \"c:3\""), two);
    assert_eq!(listen(&[], &[], "listen = [\"a:1\", \"b:2\"]"), two);
    assert_eq!(listen(&[], &[], "listen = \"c:3\""), ["c:3"]);
    // The list of cores has commas of its own.
    assert!(
        resolve(&[], &[("SOCKHOP_CORES", "0,2")], "cores = 0")
            .unwrap()
            .to_toml()
            .contains("cores = \"0,2\"")
    );
}

#[test]
fn mistakes_are_all_told_with_their_place_what_was_expected_and_an_example() {
    let file = "head_timout = \"5s\"\n\n  idle_timeout = 5\ndata = 7\nlisten = []\ncolour = 1\nlog_format = \"xml\"\n";
    let said = resolve(&[], &[("SOCKHOP_CORES", "many"), ("SOCKHOP_WRITE_TIMEOUT", "2days")], file)
        .unwrap_err();
    for part in [
        "the configuration has 8 mistakes",
        "\"/etc/sockhop.toml\" line 1 column 1: there is no key \"head_timout\"; did you mean \"head_timeout\"?",
        "idle_timeout in \"/etc/sockhop.toml\" line 3 column 18: \"5\" is not understood: time unit needed",
        "write for example idle_timeout = \"1m 15s\"",
        "data in \"/etc/sockhop.toml\" line 4 column 8: a number is no value for it; write for example data = \"./sockhop-data\"",
        "listen in \"/etc/sockhop.toml\" line 5 column 10: the list is empty; write for example listen = [\"127.0.0.1:8080\"]",
        "line 6 column 1: there is no key \"colour\"; the keys are listen, tls_cert, tls_key",
        "\"xml\" is not understood: expected text or json",
        "SOCKHOP_CORES: \"many\" is not understood: \"many\" is no list of cores; expected for example 0-3",
        "SOCKHOP_WRITE_TIMEOUT: \"2days\" is not understood: at most 1day is possible",
    ] {
        assert!(said.contains(part), "{part}\nnot in\n{said}");
    }
    let said = resolve(&[], &[], "head_timeout = \nidle_timeout \"5s\"\n").unwrap_err();
    assert!(
        said.contains("line 1") && said.contains("line 2") && said.contains("no TOML"),
        "{said}"
    );
    assert!(resolve(&[], &[], "drain_timeout = \"0s\"").is_ok());
    assert!(resolve(&[], &[], "head_timeout = \"0s\"").unwrap_err().contains("at least 1ms"));
    assert!(resolve(&[], &[], "log = \"info,=\"").unwrap_err().contains("log in"));
}

#[test]
fn suggestions_are_for_slips_and_not_for_other_words() {
    let settings = definition();
    for (slip, meant) in [
        ("head-timeout", "head_timeout"),
        ("liste", "listen"),
        ("LISTEN", "listen"),
        ("log_fromat", "log_format"),
        ("core", "cores"),
    ] {
        assert_eq!(nearest(slip, keys(&settings)), Some(meant), "{slip}");
    }
    for other in ["http2", "colour", "x", ""] {
        assert_eq!(nearest(other, keys(&settings)), None, "{other}");
    }
    let variables = [
        "PATH",
        "SOCKHOP_HEAD_TIMEOUT",
        "SOCKHOP_HEADTIMEOUT",
        "SOCKHOP_NODE",
        "SOCKHOP_CONFIG",
        "SOCKHOP_",
    ];
    let slips = super::misspelt(variables.map(str::to_owned).into_iter());
    assert_eq!(slips, [("SOCKHOP_HEADTIMEOUT".to_owned(), "SOCKHOP_HEAD_TIMEOUT".to_owned())]);
}

#[test]
fn a_reading_takes_over_what_can_change_and_names_the_rest() {
    let old =
        resolve(&["--write-timeout", "9s"], &[], "head_timeout = \"10s\"\nlisten = \"a:1\"\n")
            .unwrap();
    let file = "head_timeout = \"5s\"\nlisten = [\"a:1\", \"b:2\"]\ndomain = \"example.com\"\nwrite_timeout = \"1s\"\n";
    let new = resolve(&["--write-timeout", "9s"], &[], file).unwrap();
    let (now, change) = old.take_over(&new).unwrap();
    assert_eq!((now.settings.head_timeout.as_secs(), now.settings.listen.len()), (5, 1));
    assert_eq!(now.settings.write_timeout.as_secs(), 9, "the flag still wins");
    assert!(change.has_waiting());
    assert_eq!(
        change.to_string(),
        "domain none -> example.com; head_timeout 10s -> 5s; \
         listen [\"a:1\"] -> [\"a:1\", \"b:2\"] needs a restart or a take-over"
    );
    let (again, change) = now.take_over(&new).unwrap();
    assert!(change.has_waiting(), "it is still waiting: {change}");
    let (back, change) = again.take_over(&old).unwrap();
    assert_eq!(change.to_string(), "domain example.com -> none; head_timeout 5s -> 10s");
    assert!(!change.has_waiting());
    assert_eq!(back.take_over(&old).unwrap().1.to_string(), "nothing has changed");
}

#[test]
fn the_file_in_the_guide_is_one() {
    let block = GUIDE
        .split("```toml\n# sockhop serve --config")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let file = block.split_once('\n').unwrap().1;
    let (given, mistakes) = read(Path::new("settings.md"), file);
    assert!(mistakes.is_empty(), "{}", Mistakes(mistakes));
    assert!(given.len() >= 5, "{given:?}");
    resolve(&[], &[], file).unwrap();
}

#[test]
fn the_guide_has_every_setting_with_its_flag_variable_default_and_whether_it_can_change() {
    for setting in definition().get_arguments() {
        let key = setting.get_id().as_str();
        let start = format!("| `{key}` | `--{}` | `{}` |", key.replace('_', "-"), variable_of(key));
        let line = GUIDE.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("the guide has no line {start:?}"));
        for default in setting.get_default_values() {
            assert!(line.contains(&format!("| `{}` |", default.to_str().unwrap())), "{line}");
        }
        assert_eq!(
            line.contains("| yes |"),
            setting.get_help_heading() == Some(super::RELOADED),
            "{line}"
        );
    }
}

fn given(key: u8, origin: Origin, value: u8) -> Given {
    Given { key: format!("key{key}"), values: vec![value.to_string().into()], origin }
}

proptest! {
    /// Of every setting counts what the weightiest layer says that says anything, and nothing else
    /// appears.
    #[test]
    fn the_weightiest_layer_counts(
        flags in proptest::collection::btree_map(0u8..6, any::<u8>(), 0..6),
        environment in proptest::collection::btree_map(0u8..6, any::<u8>(), 0..6),
        file in proptest::collection::btree_map(0u8..6, any::<u8>(), 0..6),
    ) {
        let layer = |map: &BTreeMap<u8, u8>, origin: Origin| {
            map.iter().map(|(key, value)| given(*key, origin.clone(), *value)).collect::<Vec<_>>()
        };
        let merged = merge([
            layer(&flags, Origin::Flag),
            layer(&environment, Origin::Environment),
            layer(&file, Origin::Default),
        ]);
        for key in 0..6 {
            let expected = flags.get(&key).map(|value| given(key, Origin::Flag, *value))
                .or_else(|| environment.get(&key).map(|value| given(key, Origin::Environment, *value)))
                .or_else(|| file.get(&key).map(|value| given(key, Origin::Default, *value)));
            prop_assert_eq!(merged.get(&format!("key{key}")), expected.as_ref());
        }
    }

    /// Whatever a file holds is read or refused, and every mistake has a place in it.
    #[test]
    fn any_file_is_survived(text in "([a-z_]{1,12}|head_timeout|listen|=|\\[|\\]|\"|[0-9]{1,20}|0x1|é|true|#|\\.|,|\n| ){0,40}") {
        for mistake in read(Path::new("x"), &text).1 {
            if let Mistake::Syntax { place, .. } | Mistake::Unknown { place, .. } = mistake {
                prop_assert!(place.line <= text.matches('\n').count() + 1, "{place} {text:?}");
            }
        }
    }

    /// What check-config prints is a file that says the same.
    #[test]
    fn what_is_printed_is_a_file_that_says_the_same(
        data in "[a-z0-9\\./\"'\\\\# é\u{7f}-]{1,20}",
        listen in proptest::collection::vec("[a-z]{1,9}:[0-9]{1,4}", 1..4),
        idle_ms in 1u64..86_400_000,
        cores in proptest::option::of("[0-3](,[0-3]){0,2}"),
        domain in proptest::option::of("[a-z]{1,9}\\.[a-z]{2,5}"),
    ) {
        let mut flags = vec![format!("--data={data}"), format!("--idle-timeout={idle_ms}ms")];
        flags.extend(listen.iter().map(|address| format!("--listen={address}")));
        flags.extend(cores.map(|cores| format!("--cores={cores}")));
        flags.extend(domain.map(|domain| format!("--domain={domain}")));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let first = resolve(&flags, &[], "").unwrap();
        let second = resolve(&[], &[], &first.to_toml()).unwrap();
        prop_assert_eq!(format!("{:?}", first.settings), format!("{:?}", second.settings));
        prop_assert_eq!(first.take_over(&second).unwrap().1.to_string(), "nothing has changed");
    }
}

#[test]
fn settings_about_certificates_go_together_or_are_refused() {
    let email = ["--acme-email", "me@example.com"];
    let given = |flags: &[&str]| resolve(&[&email, flags].concat(), &[], "");
    let other = ["--acme-directory", "https://ca.example/dir"];
    let good = [
        &[][..],
        &["--acme-staging"],
        &[&other[..], &["--acme-root", "/etc/root.pem"]].concat(),
        &["--acme-eab-key-id", "kid", "--acme-eab-hmac-file", "/etc/hmac"],
        &["--acme-challenge", "tls-alpn-01"],
    ];
    for flags in good {
        given(flags).unwrap();
        // Without the address nothing is ordered, and the others mean nothing.
        let refused = resolve(flags, &[], "").err();
        assert_eq!(refused.is_some(), !flags.is_empty(), "{flags:?}");
    }
    for (flags, part) in [
        ([&other[..], &["--acme-staging"]].concat(), "two CAs"),
        (vec!["--acme-root", "/etc/root.pem"], "acme_directory"),
        (vec!["--acme-eab-key-id", "kid"], "set both"),
        (vec!["--acme-eab-hmac-file", "/etc/hmac"], "set both"),
    ] {
        let refused = given(&flags).unwrap_err();
        assert!(refused.contains(part), "{flags:?}: {refused}");
    }
    for (flag, value) in [
        ("--acme-email", "me"),
        ("--acme-email", "me@x.y, you@x.y"),
        ("--acme-directory", "http://ca.example/dir"),
        ("--acme-directory", "ca.example"),
        ("--acme-challenge", "dns-01"),
    ] {
        assert!(resolve(&[flag, value], &[], "").is_err(), "{flag} {value}");
    }
}

#[test]
fn nats_has_one_address_or_several_and_its_credentials_elsewhere() {
    let servers = |flags: &[&str]| resolve(flags, &[], "").unwrap().settings.nats;
    assert_eq!(servers(&["--nats", "nats://a:1,tls://b"]), ["nats://a:1", "tls://b"]);
    assert_eq!(servers(&["--nats", "nats://a:1", "--nats", "tls://b"]), ["nats://a:1", "tls://b"]);
    assert!(servers(&[]).is_empty());
    for (flags, variables, file) in [
        (&["--nats", "nats://me:secret@a:1"][..], &[][..], ""),
        (&[], &[("SOCKHOP_NATS", "nats://b,nats://secret@a")], ""),
        (&[], &[], "nats = \"tls://secret@a:1\""),
    ] {
        let said = resolve(flags, variables, file).unwrap_err();
        assert!(said.contains("nats_credentials") && !said.contains("secret"), "{said}");
    }
    let said = resolve(&["--nats-credentials", "x"], &[], "").unwrap_err();
    assert!(said.contains("without nats"), "{said}");
}
