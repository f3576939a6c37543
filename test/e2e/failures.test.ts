/** Bad input gets one clear sentence, the documented exit status, and loses nothing. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeVersions, readInvariantHeader } from "../../src/wire/header.ts";
import { Scene, type Ended, type Serving } from "./godwit.ts";

/** Becoming somebody else and mounting a small disk need root; elsewhere these tests are reported as skipped. */
const IS_ROOT = process.getuid?.() === 0;

let scene: Scene;
let server: Serving | undefined;
let port = 0;
const sockets: Socket[] = [];

beforeEach(() => {
  scene = new Scene();
  server = undefined;
  mkdirSync(scene.path("inbox"));
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await scene.close();
});

async function serve(...more: string[]): Promise<void> {
  server = await scene.serve("server", "inbox", more);
  port = server.port;
}

const at = (path = ""): string => `127.0.0.1:${port}${path}`;
const send = (...args: string[]): Promise<Ended> => scene.run("client", ["send", ...args]);

/** Status, and whether standard error is exactly one line that contains `text`. */
function said(ended: Ended, text: string): [number | null, string] {
  const lines = ended.stderr.trimEnd().split("\n");
  const isOne = lines.length === 1 && lines[0].startsWith("godwit: ") && lines[0].includes(text);
  return [ended.status, isOne ? text : ended.stderr];
}

/** A UDP socket on this machine that answers as it likes. */
async function fakePeer(
  answer: (datagram: Buffer, reply: (bytes: Uint8Array) => void) => void,
): Promise<number> {
  const socket = createSocket("udp4");
  sockets.push(socket);
  socket.on("message", (datagram, from) =>
    answer(datagram, (bytes) => socket.send(bytes, from.port, from.address)),
  );
  await new Promise<void>((done) => socket.bind(0, "127.0.0.1", done));
  return socket.address().port;
}

describe("the network", () => {
  test("nothing listens", async () => {
    writeFileSync(scene.path("a"), "a");
    const silent = await fakePeer(() => undefined);
    const ended = await send("a", "--to", `127.0.0.1:${silent}`, "--accept-new");
    expect(said(ended, `nothing answers at 127.0.0.1:${silent}`)).toEqual([
      6,
      `nothing answers at 127.0.0.1:${silent}`,
    ]);
  });

  test("a host name that does not exist", async () => {
    writeFileSync(scene.path("a"), "a");
    const ended = await send("a", "--to", "no-such-host.invalid");
    expect(said(ended, "no-such-host.invalid cannot be resolved")).toEqual([
      6,
      "no-such-host.invalid cannot be resolved",
    ]);
  });

  test("a port in use", async () => {
    await serve("--open");
    const ended = await scene.run("other", ["serve", "inbox", "--listen", at()]);
    expect([ended.status, ended.stderr.split("\n").length]).toEqual([2, 2]);
    expect(ended.stderr).toContain(String(port));
  });

  test("a peer that only speaks another version", async () => {
    writeFileSync(scene.path("a"), "a");
    const other = await fakePeer((datagram, reply) => {
      // docs/spec/wire.md §6: a long header that names no version, the ids swapped, and a list of one version.
      const asked = readInvariantHeader(datagram, 0, datagram.length);
      if (asked !== undefined) reply(encodeVersions(asked, [0x67_64_77_7f]));
    });
    const ended = await send("a", "--to", `127.0.0.1:${other}`, "--accept-new");
    expect(ended.status).toBe(10);
    expect(ended.stderr).toContain("no common protocol version");
  });

  test("garbage and truncated datagrams at any moment change nothing", async () => {
    await serve("--open");
    const attacker = createSocket("udp4");
    sockets.push(attacker);
    const noise = (): void => {
      for (const length of [0, 1, 12, 13, 40, 1_200, 1_472])
        attacker.send(randomBytes(length), port, "127.0.0.1");
      const long = randomBytes(1_200);
      long[0] = 0xc0;
      long.write("gdw\x01", 1, "latin1");
      attacker.send(long, port, "127.0.0.1");
      attacker.send(long.subarray(0, 600), port, "127.0.0.1");
    };
    const timer = setInterval(noise, 5);
    writeFileSync(scene.path("a"), randomBytes(3_000_000));
    const ended = await send("a", "--to", at(), "--accept-new");
    clearInterval(timer);
    expect(ended.status).toBe(0);
    await server?.completed();
    expect(readdirSync(scene.path("inbox"))).toEqual(["a"]);
  });
});

describe("the source", () => {
  test("missing", async () => {
    expect(said(await send("none", "--to", "127.0.0.1:1"), "there is no none")).toEqual([
      4,
      "there is no none",
    ]);
  });

  test("a FIFO", async () => {
    execFileSync("mkfifo", [scene.path("fifo")]);
    const text = "neither a file nor a directory";
    expect(said(await send("fifo", "--to", "127.0.0.1:1"), text)).toEqual([4, text]);
  });

  test("a device", async () => {
    const text = "neither a file nor a directory";
    expect(said(await send("/dev/null", "--to", "127.0.0.1:1"), text)).toEqual([4, text]);
  });

  test("truncated or appended while sending: exit 8 or one whole version", async () => {
    await serve("--open");
    for (const change of [
      (path: string) => truncateSync(path, 1_000),
      (path: string) => appendFileSync(path, "more"),
    ]) {
      writeFileSync(scene.path("a"), Buffer.alloc(4_000_000, 1));
      const sending = scene.start("client", [
        "send",
        "a",
        "--to",
        at(),
        "--accept-new",
        "--overwrite",
        "--rate",
        "20mbit",
        "--json",
      ]);
      await sending.event("transfer-started");
      change(scene.path("a"));
      const ended = await sending.ended;
      expect([0, 8]).toContain(ended.status);
      if (ended.status === 8) expect(ended.stderr).toContain("changed");
    }
  });
});

describe("the destination", () => {
  test.skipIf(!IS_ROOT)("is read-only, or unreadable at the source", async () => {
    // As root nothing is read-only: both machines are played by nobody.
    const nobody = { uid: 65_534, gid: 65_534 };
    chownSync(scene.directory, nobody.uid, nobody.gid);
    writeFileSync(scene.path("a"), "a");
    writeFileSync(scene.path("secret"), "s", { mode: 0o600 });
    chmodSync(scene.path("inbox"), 0o555);
    port = (await scene.serve("server", "inbox", ["--open"], nobody)).port;
    const refused = await scene.run("client", ["send", "a", "--to", at(), "--accept-new"], nobody);
    expect([refused.status, refused.stderr.includes("inbox") || refused.stderr.includes("a")]).toEqual([
      4,
      true,
    ]);
    const unreadable = await scene.run("client", ["send", "secret", "--to", at()], nobody);
    expect(said(unreadable, "cannot read secret")).toEqual([4, "cannot read secret"]);
    expect(readdirSync(scene.path("inbox"))).toEqual([]);
  });

  test.skipIf(!IS_ROOT || process.platform !== "linux")("is full", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", scene.path("inbox")]);
    try {
      await serve("--open");
      writeFileSync(scene.path("a"), randomBytes(8_000_000));
      const ended = await send("a", "--to", at(), "--accept-new");
      expect(ended.status).toBe(5);
      expect(ended.stderr).toMatch(/space|full/);
      expect(readdirSync(scene.path("inbox")).filter((name) => !name.startsWith(".godwit"))).toEqual([]);
    } finally {
      server?.child.kill("SIGKILL");
      await server?.ended;
      execFileSync("umount", [scene.path("inbox")]);
    }
  });

  test("does not exist, or is a file", async () => {
    const missing = await scene.run("server", ["serve", "nowhere", "--listen", "127.0.0.1:0"]);
    expect(said(missing, "there is no directory nowhere")).toEqual([4, "there is no directory nowhere"]);
    writeFileSync(scene.path("file"), "");
    const file = await scene.run("server", ["serve", "file", "--listen", "127.0.0.1:0"]);
    expect(said(file, "file is not a directory")).toEqual([4, "file is not a directory"]);
  });

  test("of a get is told here with its place, and to the server without", async () => {
    writeFileSync(scene.path("inbox/a"), "a");
    writeFileSync(scene.path("file"), "");
    await serve("--open", "--once");
    const got = await scene.run("client", ["get", at("/a"), "--into", scene.path("file"), "--accept-new"]);
    const sentence = `cannot open ${scene.path("file")}: not a directory`;
    expect(said(got, sentence)).toEqual([4, sentence]);
    const ended = await server?.ended;
    const told = String(ended?.stdout) + String(ended?.stderr);
    expect(told).toContain("the receiver cannot open its directory: not a directory");
    expect(told).not.toContain(scene.path("file"));
  });
});

describe("what is not there", () => {
  test("of a get is said once on each side", async () => {
    const plain = scene.start("server", ["serve", "inbox", "--open", "--once", "--listen", "127.0.0.1:0"]);
    const [, port] = await plain.said(/on UDP port (\d+)/);
    const from = `127.0.0.1:${port}/missing`;
    const got = await scene.run("client", ["get", from, "--into", scene.path("out"), "--accept-new"]);
    expect([got.status, got.stderr]).toEqual([4, "godwit: cannot read missing: no such file or directory\n"]);
    const told = (await plain.ended).stderr.split("\n").filter((line) => line.includes("no such file"));
    expect(told).toEqual([
      expect.stringMatching(
        /^127\.0\.0\.1:\d+ \([A-Z0-9-]+\): cannot read missing: no such file or directory$/,
      ),
    ]);
  });

  test("of several is said by name, and the sum at the end", async () => {
    writeFileSync(scene.path("inbox/a"), "a");
    await serve("--open", "--once");
    const into = scene.path("out");
    const got = await scene.run("client", ["get", at("/a"), at("/missing"), "--into", into, "--accept-new"]);
    const lines = got.stderr.split("\n").filter((line) => /missing|failed/.test(line));
    expect([got.status, lines]).toEqual([
      3,
      ["cannot read missing: no such file or directory", "1 entry failed; everything else is complete"],
    ]);
  });
});

describe("trust", () => {
  test("an unknown server is refused in scripts, with its fingerprint; --pin accepts exactly that key", async () => {
    await serve("--open");
    writeFileSync(scene.path("a"), "a");
    const unknown = await send("a", "--to", at());
    const fingerprint = String(server?.fingerprint);
    expect(said(unknown, fingerprint)).toEqual([7, fingerprint]);
    const wrong = await send("a", "--to", at(), "--pin", "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23-4567");
    expect([wrong.status, wrong.stderr.includes(fingerprint)]).toEqual([7, true]);
    expect(readdirSync(scene.path("inbox"))).toEqual([]);
    expect((await send("a", "--to", at(), "--pin", fingerprint)).status).toBe(0);
  });

  test("a changed key stops with both fingerprints", async () => {
    await serve("--open");
    writeFileSync(scene.path("a"), "a");
    expect((await send("a", "--to", at(), "--accept-new")).status).toBe(0);
    const before = String(server?.fingerprint);
    server?.child.kill("SIGKILL");
    await server?.ended;
    const { fingerprint: after } = await scene.serve("impostor", "inbox", ["--listen", at(), "--open"]);
    const ended = await send("a", "--to", at(), "--accept-new", "--overwrite");
    expect([ended.status, ended.stderr.includes(before), ended.stderr.includes(after)]).toEqual([
      7,
      true,
      true,
    ]);
  });

  test("an unknown client is refused until it is trusted, with what to type", async () => {
    await serve();
    writeFileSync(scene.path("a"), "a");
    const id = (await scene.run("client", ["id"])).stdout.toString("utf8").trim();
    const refused = await send("a", "--to", at(), "--accept-new");
    expect([refused.status, refused.stderr.includes(`godwit peers trust ${id}`)]).toEqual([7, true]);
    expect((await scene.run("server", ["peers", "trust", id, "--write-only"])).status).toBe(0);
    expect((await send("a", "--to", at(), "--accept-new")).status).toBe(0);
    const got = await scene.run("client", ["get", at("/a"), "--into", "back"]);
    expect(got.status).toBe(7);
  });

  test("a key file that others may read is not used", async () => {
    await scene.run("client", ["id"]);
    chmodSync(scene.path("home-client/identity.json"), 0o644);
    const ended = await scene.run("client", ["id"]);
    expect(said(ended, "chmod 600")).toEqual([2, "chmod 600"]);
  });
});

describe("interruption", () => {
  test("Ctrl-C at the sender: 130, the receiver is told, the same command completes", async () => {
    await serve("--open");
    writeFileSync(scene.path("a"), randomBytes(6_000_000));
    const sending = scene.start("client", [
      "send",
      "a",
      "--to",
      at(),
      "--accept-new",
      "--rate",
      "8mbit",
      "--json",
    ]);
    await sending.event("transfer-started");
    sending.child.kill("SIGINT");
    const ended = await sending.ended;
    expect(ended.status).toBe(130);
    expect(await server?.event("transfer-ended")).toMatchObject({ result: "failed", exit: 130 });
    expect(readdirSync(scene.path("inbox")).filter((name) => !name.startsWith(".godwit"))).toEqual([]);
    expect((await send("a", "--to", at())).status).toBe(0);
    await server?.completed();
    expect(readdirSync(scene.path("inbox"))).toEqual(["a"]);
  });

  test("Ctrl-C at the receiver: 130, the sender is told and can resume", async () => {
    await serve("--open");
    writeFileSync(scene.path("a"), randomBytes(6_000_000));
    const sending = scene.start("client", [
      "send",
      "a",
      "--to",
      at(),
      "--accept-new",
      "--rate",
      "8mbit",
      "--json",
    ]);
    await server?.event("transfer-started");
    server?.child.kill("SIGINT");
    expect((await server?.ended)?.status).toBe(130);
    const ended = await sending.ended;
    expect([6, 130]).toContain(ended.status);
  });
});

test("usage errors are one sentence with status 2", async () => {
  writeFileSync(scene.path("a"), "contents");
  for (const args of [
    ["send", "a"],
    ["send", "a", "--to", "host:99999"],
    ["send", "a", "--to", "h", "--rate", "fast"],
    ["send", "-", "--to", "127.0.0.1:1"],
    ["send", "-", "--to", "127.0.0.1:1", "--name", "a/b"],
    ["nonsense"],
    ["serve", "--listen", "x:y"],
    ["ping", "h", "--count", "0"],
    ["send", "", "--to", "127.0.0.1:1"],
    ["send", "a", "--to", "127.0.0.1:1", "--checksum"],
    ["send", "a", "--to", "127.0.0.1:1", "--patience", "0s"],
    ["send", "a", "--to", "127.0.0.1:1", "--overwite"],
    ["get", "127.0.0.1:1/a", "--into", ""],
    ["get", "127.0.0.1:1/a", "--into", "-", "--dry-run"],
    ["serve", ""],
    ["clean", ""],
    ["peers", "bogus"],
    ["peers", "forget", "nobody"],
    ["link", "0", "127.0.0.1:1", "--loss", "200%"],
    ["send", "a", "--to", "two words"],
    ["id", "--home", "/proc/godwit"],
  ]) {
    const ended = await scene.run("client", args);
    expect(`${args.join(" ")}: ${ended.status}, ${ended.stderr}`).toMatch(/: 2, godwit: [^\n]+\n$/);
  }
});

test("a mistyped command is told which one it may be", async () => {
  const mistyped = await scene.run("client", ["sned"]);
  const hint = 'no command "sned"; did you mean godwit send? See godwit --help';
  expect(said(mistyped, hint)).toEqual([2, hint]);
  const strange = await scene.run("client", ["xyzzy"]);
  expect(strange.stderr).toBe('godwit: there is no command "xyzzy"; see godwit --help\n');
});

test("help fits a terminal of 80 columns", async () => {
  for (const command of [[], ["serve"], ["send"], ["get"], ["peers"], ["verify"], ["link"], ["classic"]]) {
    const { stdout } = await scene.run("client", [...command, "--help"]);
    const lines = stdout.toString().split("\n");
    expect([command, lines.filter((line) => line.length > 80)]).toEqual([command, []]);
  }
});
