/** Pairing through the built command line: codes, wrong codes, what both sides remember, changed keys, rights. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MAIN, Scene, type Running } from "./godwit.ts";

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
  mkdirSync(scene.path("served"));
  writeFileSync(scene.path("letter.txt"), "dear peer\n");
});
afterEach(() => scene.close());

interface Served {
  readonly server: Running;
  readonly where: string;
  readonly code: string;
  readonly fingerprint: string;
}

async function serve(...args: string[]): Promise<Served> {
  const server = await scene.serve("server", "served", ["--code-file", "shown", ...args]);
  const code = existsSync(scene.path("shown")) ? readFileSync(scene.path("shown"), "utf8").trim() : "";
  return { server, where: server.at, code, fingerprint: server.fingerprint };
}

const send = (where: string, ...args: string[]): string[] => ["send", "letter.txt", "--to", where, ...args];

const received = (name = "letter.txt"): string => readFileSync(scene.path("served", name), "utf8");

/** A code of the list that is not `code`. */
const wrong = (code: string): string =>
  code === "acid-acorn-acre-acts" ? "acid-acid-acid-acid" : "acid-acorn-acre-acts";

describe("a pairing code", () => {
  test("lets a stranger in once; after it both sides know each other and no code is needed", async () => {
    const { server, where, code, fingerprint } = await serve();
    expect(code).toMatch(/^[a-z]+-[a-z]+-[a-z]+-[a-z]+$/);
    const first = await scene.run("client", send(where), { environment: { GODWIT_CODE: code } });
    expect(first.stderr).toContain("verified 1 file");
    expect(first.status).toBe(0);
    expect(received()).toBe("dear peer\n");
    const paired = await server.event("peer-paired");
    // A secret is in no line that a script may log.
    expect(JSON.stringify(await server.event("listening"))).not.toContain(code);

    const known = (await scene.run("client", ["peers", "--json"])).events;
    expect(known).toMatchObject([{ fingerprint, addresses: [where], mayRead: false, mayWrite: false }]);
    const authorised = (await scene.run("server", ["peers", "--json"])).events;
    expect(authorised).toMatchObject([{ fingerprint: paired["fingerprint"], mayRead: true, mayWrite: true }]);

    const second = await scene.run("client", send(where, "--overwrite"));
    expect(second.status).toBe(0);
    const third = await scene.run("client", ["get", `${where}/letter.txt`, "--into", "back"]);
    expect(third.status).toBe(0);
    expect(readFileSync(scene.path("back", "letter.txt"), "utf8")).toBe("dear peer\n");
  });

  test("works once: a second machine with the same code is told that it is used up", async () => {
    const { where, code } = await serve();
    writeFileSync(scene.path("code"), `${code.toUpperCase()}\n`);
    expect((await scene.run("client", ["ping", where, "--count", "1", "--code-file", "code"])).status).toBe(
      0,
    );
    const second = await scene.run("other", send(where, "--code-file", "code"));
    expect(second.stderr).toContain("dead: it was used already");
    expect(second.status).toBe(7);
  });

  test("is dead after three wrong ones, also for who knows the right one", async () => {
    const { server, where, code } = await serve();
    const left: string[] = [];
    for (let guess = 1; guess <= 3; guess++) {
      const ended = await scene.run("client", send(where, "--json"), {
        environment: { GODWIT_CODE: wrong(code) },
      });
      expect(ended.status).toBe(7);
      expect(ended.stdout.toString()).toContain("WRONG_CODE");
      left.push(/(\d attempts? left|dead now)/.exec(ended.stderr)?.[0] ?? ended.stderr);
    }
    expect(left).toEqual(["2 attempts left", "1 attempt left", "dead now"]);
    expect((await server.event("code-refused"))["guessesLeft"]).toBe(2);
    const late = await scene.run("client", send(where), { environment: { GODWIT_CODE: code } });
    expect(late.stderr).toContain("dead: too many wrong ones");
    expect(late.status).toBe(7);
    expect((await scene.run("client", ["peers", "--json"])).stdout.toString()).toBe("");
  });

  test("what cannot be a code costs no guess", async () => {
    const { where, code } = await serve();
    for (const text of ["acid", "acid-acorn-acre-zzzzz"]) {
      const ended = await scene.run("client", send(where), { environment: { GODWIT_CODE: text } });
      expect(ended.status).toBe(7);
    }
    const right = await scene.run("client", send(where), { environment: { GODWIT_CODE: code } });
    expect(right.status).toBe(0);
  });

  test("--no-code and --open show none, and say so to who brings one", async () => {
    for (const mode of ["--no-code", "--open"]) {
      const { server, where, code } = await serve(mode);
      expect(code).toBe("");
      const ended = await scene.run("client", send(where), {
        environment: { GODWIT_CODE: "acid-acorn-acre-acts" },
      });
      expect(ended.stderr).toContain("no pairing code is shown there");
      expect(ended.status).toBe(7);
      server.child.kill("SIGINT");
      await server.ended;
    }
  });

  test("beside it, peers that are known already come in without it", async () => {
    const id = (await scene.run("friend", ["id"])).stdout.toString().trim();
    await scene.run("server", ["peers", "trust", id]);
    const { where, fingerprint } = await serve();
    const ended = await scene.run("friend", send(where, "--pin", fingerprint));
    expect(ended.status).toBe(0);
  });

  test("a machine that was forgotten at the other side pairs again with a new code", async () => {
    const first = await serve();
    expect(
      (await scene.run("client", send(first.where), { environment: { GODWIT_CODE: first.code } })).status,
    ).toBe(0);
    const id = (await scene.run("client", ["id"])).stdout.toString().trim();
    first.server.child.kill("SIGINT");
    await first.server.ended;
    await scene.run("server", ["peers", "forget", id]);
    const again = await serve("--listen", first.where);
    expect((await scene.run("client", send(again.where, "--overwrite"))).status).toBe(7);
    const paired = await scene.run("client", send(again.where, "--overwrite"), {
      environment: { GODWIT_CODE: again.code },
    });
    expect(paired.stderr).toContain("verified 1 file");
    expect(paired.status).toBe(0);
  });

  test("pairing gives the rights of the server's own options, no more", async () => {
    const { where, code } = await serve("--read-only");
    const ended = await scene.run("client", ["ping", where, "--count", "1"], {
      environment: { GODWIT_CODE: code },
    });
    expect(ended.status).toBe(0);
    const [peer] = (await scene.run("server", ["peers", "--json"])).events;
    expect(peer).toMatchObject({ mayRead: true, mayWrite: false });
  });

  test.runIf(process.platform === "linux")("is in no argument of a running command", async () => {
    const { where, code } = await serve();
    writeFileSync(scene.path("code"), code);
    const ping = scene.start("client", ["ping", where, "--count", "50", "--json", "--code-file", "code"]);
    await ping.event("reply");
    const argv = readFileSync(`/proc/${ping.child.pid}/cmdline`, "utf8");
    const environment = readFileSync(`/proc/${ping.child.pid}/environ`, "utf8");
    expect(argv).toContain("--code-file");
    expect(argv + environment).not.toContain(code);
    ping.child.kill("SIGINT");
    await ping.ended;
  });
});

/** util-linux's `script` gives a command a terminal. */
const SCRIPT = "/usr/bin/script";

describe.runIf(process.platform === "linux" && existsSync(SCRIPT))("on a terminal", () => {
  /** Runs `godwit send` on a terminal; each answer is typed when its question has appeared once more. */
  const answering = async (where: string, answers: readonly (readonly [string, string])[]) => {
    const command = `${process.execPath} ${MAIN} send letter.txt --to ${where}`;
    const child = spawn(SCRIPT, ["-qec", command, "/dev/null"], {
      cwd: scene.directory,
      env: { PATH: process.env["PATH"], HOME: scene.directory, GODWIT_HOME: scene.path("home-person") },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const limit = setTimeout(() => child.kill("SIGKILL"), 30_000);
    let output = "";
    let from = 0;
    const left = [...answers];
    child.stdout.on("data", (bytes: Buffer) => {
      output += bytes.toString("utf8");
      const [question, answer] = left[0] ?? [];
      if (question === undefined || !output.slice(from).includes(question)) return;
      from = output.length;
      left.shift();
      child.stdin.write(`${answer}\r`);
    });
    const status = await new Promise<number | null>((done) => {
      child.on("close", (code) => done(code));
    });
    clearTimeout(limit);
    return { status, output, unasked: left.length };
  };

  test("first contact asks for the code, and again after a wrong one", async () => {
    const { where, code } = await serve();
    const { status, output, unasked } = await answering(where, [
      ["(Enter for none): ", wrong(code)],
      ["(Enter for none): ", code],
    ]);
    expect(output).toContain("2 attempts left");
    expect([status, unasked]).toEqual([0, 0]);
    expect(received()).toBe("dear peer\n");
  });

  test("Ctrl-C and Ctrl-D at a question end the command with one sentence", async () => {
    const { where } = await serve();
    for (const key of ["\u0003", "\u0004"]) {
      const { status, output } = await answering(where, [["(Enter for none): ", key]]);
      expect(output).toMatch(/godwit: interrupted before anything was sent\s+$/);
      expect(status).toBe(130);
    }
  });

  test("without a code the fingerprint is shown and asked about; no means no", async () => {
    const { where, fingerprint } = await serve("--open");
    const no = await answering(where, [
      ["(Enter for none): ", ""],
      ["[yes/no] ", "no"],
    ]);
    expect(no.output).toContain(fingerprint);
    expect(no.status).toBe(7);
    const yes = await answering(where, [
      ["(Enter for none): ", ""],
      ["[yes/no] ", "yes"],
    ]);
    expect(yes.status).toBe(0);
  });
});

describe("who it is", () => {
  test("an unknown machine is refused in scripts, with its fingerprint", async () => {
    const { where, fingerprint } = await serve();
    const ended = await scene.run("client", send(where));
    expect(ended.stderr).toContain(fingerprint);
    expect(ended.status).toBe(7);
  });

  test("a changed key stops with both fingerprints, even with the right code", async () => {
    const first = await serve();
    expect(
      (await scene.run("client", send(first.where), { environment: { GODWIT_CODE: first.code } })).status,
    ).toBe(0);
    first.server.child.kill("SIGINT");
    await first.server.ended;
    const impostor = await scene.serve("impostor", "served", [
      "--listen",
      first.where,
      "--code-file",
      "shown",
    ]);
    const other = impostor.fingerprint;
    for (const flags of [[], ["--accept-new"]]) {
      const ended = await scene.run("client", send(first.where, "--overwrite", ...flags), {
        environment: { GODWIT_CODE: readFileSync(scene.path("shown"), "utf8").trim() },
      });
      expect(ended.stderr).toContain(first.fingerprint);
      expect(ended.stderr).toContain(other);
      expect(ended.status).toBe(7);
    }
    const pinned = await scene.run("client", send(first.where, "--overwrite", "--pin", first.fingerprint));
    expect(pinned.stderr).toContain(`not the pinned ${first.fingerprint}`);
    expect(pinned.status).toBe(7);
  });
});

describe("rights of a peer", () => {
  const outcome = async (where: string, pin: string): Promise<readonly (number | null)[]> => {
    const pushed = await scene.run("client", send(where, "--pin", pin));
    const pulled = await scene.run("client", ["get", `${where}/there.txt`, "--into", "back", "--pin", pin]);
    return [pushed.status, pulled.status];
  };

  test("read, write and the directory are enforced by serve", async () => {
    mkdirSync(scene.path("served", "below"));
    writeFileSync(scene.path("served", "there.txt"), "top\n");
    writeFileSync(scene.path("served", "below", "there.txt"), "below\n");
    const id = (await scene.run("client", ["id"])).stdout.toString().trim();
    const { where, fingerprint } = await serve("--no-code");
    await scene.run("server", ["peers", "trust", id, "--read-only"]);
    expect(await outcome(where, fingerprint)).toEqual([7, 0]);
    await scene.run("server", ["peers", "trust", id, "--write-only", "--directory", "below"]);
    expect(await outcome(where, fingerprint)).toEqual([0, 7]);
    expect(received("below/letter.txt")).toBe("dear peer\n");
    await scene.run("server", ["peers", "trust", id, "--directory", "below"]);
    await scene.run("client", ["get", `${where}/there.txt`, "--into", "b2", "--pin", fingerprint]);
    expect(readFileSync(scene.path("b2", "there.txt"), "utf8")).toBe("below\n");
    await scene.run("server", ["peers", "forget", id]);
    expect(await outcome(where, fingerprint)).toEqual([7, 7]);
  });
});
