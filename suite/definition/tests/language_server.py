"""A YAML language server, asked as an editor asks it: the Language Server Protocol over a pipe."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading

SERVER = os.environ.get("YAML_LANGUAGE_SERVER") or shutil.which("yaml-language-server")
SETTINGS = {"yaml": {"validate": True, "completion": True, "hover": True, "schemaStore": {"enable": False}}}


class LanguageServer(contextlib.AbstractContextManager):
    """The server, with a folder of files that are open in it."""

    def __init__(self, folder):
        self.folder, self.number, self.opened = folder, 0, 0
        self.process = subprocess.Popen([SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.said = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        configurable = {"workspace": {"configuration": True}, "textDocument": {"completion": {"completionItem": {"snippetSupport": True}}}}
        self._ask("initialize", processId=os.getpid(), rootUri=folder.as_uri(), capabilities=configurable)
        self._say("initialized")
        self._say("workspace/didChangeConfiguration", settings=SETTINGS)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def open(self, text):
        """Open a new file; return its address and the server's marks in it."""
        self.opened += 1
        file = (self.folder / f"{self.opened}.yaml").as_uri()
        self._say("textDocument/didOpen", textDocument={"uri": file, "languageId": "yaml", "version": 1, "text": text})
        while True:
            message = self._next()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == file:
                return file, message["params"]["diagnostics"]

    def completions(self, file, line, column):
        """Return what is offered at a place."""
        found = self._ask("textDocument/completion", textDocument={"uri": file}, position={"line": line, "character": column})
        return {item["label"] for item in (found["items"] if isinstance(found, dict) else found or [])}

    def _ask(self, method, **params):
        self.number += 1
        self._send(id=self.number, method=method, params=params)
        while True:
            message = self._next()
            if message.get("id") == self.number and "method" not in message:
                return message["result"]

    def _say(self, method, **params):
        self._send(method=method, params=params)

    def _next(self):
        """Return what the server says next; what it asks is answered."""
        while True:
            message = self.said.get(timeout=60)
            if "id" not in message or "method" not in message:
                return message
            asked = message["params"].get("items", []) if message["method"] == "workspace/configuration" else []
            self._send(id=message["id"], result=[SETTINGS.get(item.get("section")) for item in asked] or None)

    def _send(self, **message):
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        self.process.stdin.flush()

    def _listen(self):
        while header := self.process.stdout.readline():
            if header.lower().startswith(b"content-length:"):
                while self.process.stdout.readline().strip():
                    pass
                self.said.put(json.loads(self.process.stdout.read(int(header.split(b":")[1]))))
