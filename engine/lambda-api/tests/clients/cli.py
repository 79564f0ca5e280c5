"""Runs the AWS CLI as often as it is told, each time in a process of its own.

Every line of the input is a JSON list of arguments; it is answered by a line with the exit status
and what was printed. The processes are forked where the CLI is loaded, which takes far longer than
what they do.
"""

import json
import os
import sys
import tempfile

import awscli.clidriver

for line in sys.stdin:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["aws", *json.loads(line)]
            sys.exit(awscli.clidriver.main())
        _, status = os.waitpid(child, 0)
        printed = {}
        for name, file in (("stdout", out), ("stderr", err)):
            file.seek(0)
            printed[name] = file.read().decode()
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), **printed}), flush=True)
