//! Examples at the end of each command's help. Pure; owns no fds.

use clap::Command;

/// A command by its words, and command lines of it.
type Examples = (&'static [&'static str], &'static [&'static str]);

/// Each line is one that this build takes.
const EXAMPLES: &[Examples] = &[
    (
        &["serve"],
        &["sockhop serve", "sockhop serve --config /etc/sockhop.toml --admin 127.0.0.1:9000"],
    ),
    (&["check-config"], &["sockhop check-config --config /etc/sockhop.toml"]),
    (
        &["deploy"],
        &[
            "sockhop deploy",
            "sockhop deploy hello.wasm -e GREETING=hello --memory 128MiB",
            "sockhop deploy --environment staging --env-file .env.staging",
            "sockhop deploy - --name hello < hello.wasm",
            "sockhop deploy oci://ghcr.io/you/hello:v1",
        ],
    ),
    (&["push"], &["sockhop push hello.wasm oci://ghcr.io/you/hello:v1"]),
    (
        &["set"],
        &[
            "sockhop set hello --memory 128MiB -e GREETING=hello",
            "sockhop set hello --unset env.GREETING --unset memory",
            "sockhop set hello --env-file .env --dry-run",
        ],
    ),
    (
        &["diff"],
        &[
            "sockhop diff",
            "sockhop diff --environment staging",
            "sockhop diff hello v3",
            "sockhop diff hello v3 v5",
        ],
    ),
    (&["new"], &["sockhop new hello --lang rust", "sockhop new hello --lang go --kind server"]),
    (&["build"], &["sockhop build", "sockhop build shop --name web"]),
    (&["dev"], &["sockhop dev", "sockhop dev --listen 127.0.0.1:8080 --env-file .env"]),
    (
        &["run"],
        &[
            "sockhop run hello.wasm --listen 127.0.0.1:8080",
            "sockhop run count.wasm -- --lines < book.txt",
        ],
    ),
    (&["list"], &["sockhop list", "sockhop list --removed", "sockhop ls --json"]),
    (&["inspect"], &["sockhop inspect hello"]),
    (&["remove"], &["sockhop remove hello", "sockhop rm hello --yes"]),
    (&["restore"], &["sockhop restore hello"]),
    (&["versions"], &["sockhop versions hello"]),
    (&["rollback"], &["sockhop rollback hello", "sockhop rollback hello v3"]),
    (
        &["alias", "set"],
        &[
            "sockhop alias set hello@staging v13 -e MODE=test",
            "sockhop alias set hello --weights v12=90,v13=10",
        ],
    ),
    (&["alias", "list"], &["sockhop alias list hello"]),
    (&["alias", "remove"], &["sockhop alias remove hello@staging"]),
    (
        &["secret", "set"],
        &["sockhop secret set hello API_KEY", "sockhop secret set hello API_KEY < key.txt"],
    ),
    (
        &["secret", "import"],
        &["sockhop secret import hello .env.secret", "sockhop secret import hello - < .env"],
    ),
    (&["secret", "list"], &["sockhop secret list hello"]),
    (&["secret", "remove"], &["sockhop secret remove hello API_KEY"]),
    (
        &["invoke"],
        &[
            "sockhop invoke hello --path /greet?name=you",
            "sockhop invoke hello@v3 -X PUT -H content-type:text/plain -d @body.txt",
            "sockhop invoke hello --async -d hello",
        ],
    ),
    (&["status"], &["sockhop status", "sockhop status --context node.example"]),
    (
        &["login"],
        &[
            "sockhop login https://node.example",
            "sockhop login https://node.example --name live --token-file admin.token",
            "sockhop login http://127.0.0.1:9000 --token-file - < admin.token",
        ],
    ),
    (&["logout"], &["sockhop logout", "sockhop logout node.example"]),
    (&["context", "list"], &["sockhop context list"]),
    (&["context", "use"], &["sockhop context use live", "sockhop context use local"]),
    (&["context", "remove"], &["sockhop context remove live"]),
    (
        &["logs"],
        &[
            "sockhop logs hello --since 10m",
            "sockhop logs -f",
            "sockhop logs shop cart -f --text error",
        ],
    ),
    (&["top"], &["sockhop top"]),
    (&["dashboard"], &["sockhop dashboard"]),
    (
        &["domain", "add"],
        &[
            "sockhop domain add shop.example.com shop",
            "sockhop domain add example.com/api/* api@live",
        ],
    ),
    (&["domain", "list"], &["sockhop domain list"]),
    (&["domain", "remove"], &["sockhop domain remove shop.example.com"]),
    (&["cron", "add"], &["sockhop cron add shop '0 3 * * *' --path /nightly"]),
    (&["cron", "list"], &["sockhop cron list"]),
    (&["bundle"], &["sockhop bundle hello --for lambda --output hello.zip"]),
    (&["kv", "ls"], &["sockhop kv ls shop"]),
    (&["kv", "get"], &["sockhop kv get shop cart:1"]),
    (&["kv", "set"], &["sockhop kv set shop cart:1 3"]),
    (&["jobs", "list"], &["sockhop jobs list shop --state dead"]),
    (&["jobs", "retry"], &["sockhop jobs retry --all shop"]),
    (&["guide"], &["sockhop guide", "sockhop guide deploying", "sockhop guide --search memory"]),
    (&["completions"], &["sockhop completions bash"]),
    (&["man"], &["sockhop man --out man"]),
];

/// Returns the command line with the examples at the end of each help.
pub(super) fn with_examples(whole: Command) -> Command {
    EXAMPLES.iter().fold(whole, |whole, (path, lines)| with(whole, path, lines))
}

fn with(command: Command, path: &[&str], lines: &[&str]) -> Command {
    match path.split_first() {
        Some((first, rest)) => command.mut_subcommand(*first, |command| with(command, rest, lines)),
        None => {
            let lines: String = lines.iter().map(|line| format!("\n  {line}")).collect();
            command.after_help(format!("Examples:{lines}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;

    /// The words that a shell makes of a line, without what it does itself.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        for character in line.split(" < ").next().unwrap_or_default().chars() {
            match character {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                other => word.push(other),
            }
        }
        words.push(word);
        words
    }

    #[test]
    fn each_example_is_one_that_is_taken_and_stands_in_its_help() {
        for (path, lines) in EXAMPLES {
            for line in *lines {
                let parsed = command().try_get_matches_from(words(line));
                let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
                let first = parsed.subcommand_name().unwrap();
                assert_eq!(first, path[0], "{line}");
            }
            let mut whole = command();
            let found = path.iter().try_fold(&mut whole, |of, name| of.find_subcommand_mut(name));
            let help = found.unwrap().render_help().to_string();
            assert!(lines.iter().all(|line| help.contains(line)), "{help}");
        }
    }

    #[test]
    fn each_command_at_the_top_has_one() {
        for of in
            command().get_subcommands().filter(|of| !of.is_hide_set() && of.get_name() != "help")
        {
            let has = EXAMPLES.iter().any(|(path, _)| path[0] == of.get_name());
            assert!(has, "{} has no example", of.get_name());
        }
    }
}
