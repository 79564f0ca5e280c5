#!/usr/bin/env node
// Starts the sockhop of the package that npm has installed for this platform, and ends as it does.
"use strict";
const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const platform = `@sockhop/${process.platform}-${process.arch}`;
let program;
try {
  program = require.resolve(`${platform}/bin/sockhop`);
} catch {
  console.error(
    `error: ${platform} is not installed: sockhop runs on Linux, on x64 and arm64; ` +
      "if this is one of them, install again without --omit=optional",
  );
  process.exit(1);
}

const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"]) {
  process.on(signal, () => child.kill(signal));
}
child.on("error", (error) => {
  console.error(`error: ${program} cannot be started: ${error.message}`);
  process.exit(1);
});
// As a shell has it.
child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
