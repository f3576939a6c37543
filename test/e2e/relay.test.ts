/** Receivers that serve each other, through the built command line: each is a process of its own. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MODULES, Scene, type Running, type Serving, type StartOptions } from "./godwit.ts";

const LYING = ["--import", resolve(import.meta.dirname, "../support/lying-helper.mjs")];

let scene: Scene;
let sender: string;

beforeEach(async () => {
  scene = new Scene();
  sender = (await scene.run("sender", ["id"])).stdout.toString().trim();
});

afterEach(() => scene.close());

/** A receiver that knows the sender and nobody else. */
async function serve(
  who: string,
  more: readonly string[] = [],
  options: StartOptions = {},
): Promise<Serving> {
  mkdirSync(scene.path(who), { recursive: true });
  await scene.run(who, ["peers", "trust", sender]);
  return scene.serve(who, who, ["--no-code", ...more], options);
}

function knownPeers(who: string): string {
  return readFileSync(scene.path(`home-${who}`, "known_peers.json"), "utf8");
}

/** Sends `film` to all with `--relay`, slowly enough that receivers have time to help. */
function send(receivers: readonly Serving[], ...more: string[]): Running {
  const to = receivers.flatMap(({ at }) => ["--to", at]);
  return scene.start("sender", [
    "send",
    "film",
    ...to,
    "--relay",
    "--accept-new",
    "--json",
    "--rate",
    "24mbit",
    ...more,
  ]);
}

interface PeerLine {
  readonly result: string;
  readonly relayedBytes: number;
}

test("receivers that know only the sender help each other, and know only the sender afterwards", async () => {
  const film = randomBytes(6_000_000);
  writeFileSync(scene.path("film"), film);
  const names = ["r0", "r1", "r2", "alone"];
  const receivers = await Promise.all(
    names.map((name) => serve(name, name === "alone" ? ["--no-relay", "--once"] : ["--once"])),
  );
  const before = names.map((name) => knownPeers(name));
  const { status, events } = await send(receivers).ended;
  const result = events.at(-1);
  const peers = result?.["peers"] as PeerLine[];
  expect(status).toBe(0);
  expect(peers.map((peer) => peer.result)).toEqual(names.map(() => "verified"));
  const [, , , alone] = peers;
  expect(alone.relayedBytes).toBe(0);
  // Three who help each other need nine parts of which the sender sends each once, or again when it had to.
  const relay = result?.["relay"] as {
    sentOnceBytes: number;
    sentAgainBytes: number;
    relayedBytes: number;
  };
  expect(relay.sentOnceBytes).toBe(6_000_000);
  expect(relay.relayedBytes).toBeGreaterThan(6_000_000);
  expect(relay.relayedBytes + relay.sentAgainBytes).toBeGreaterThanOrEqual(12_000_000);
  // Each ends by itself, after it has served the others, with the status of its transfer.
  const ends = await Promise.all(receivers.map(({ ended }) => ended));
  expect(ends.map((end) => end.status)).toEqual([0, 0, 0, 0]);
  expect(ends.map((end) => end.events.some(({ event }) => event === "peer-refused"))).toEqual(
    names.map(() => false),
  );
  for (const name of names) expect(readFileSync(scene.path(name, "film")).equals(film)).toBe(true);
  expect(names.map((name) => knownPeers(name))).toEqual(before);
});

test("one helper lies and one is killed: the others have everything, and the liar is named", async () => {
  const film = randomBytes(8_000_000);
  writeFileSync(scene.path("film"), film);
  const [first, second, liar, killed] = await Promise.all([
    serve("r0"),
    serve("r1"),
    serve("liar", [], { nodeArguments: LYING, main: MODULES }),
    serve("killed"),
  ]);
  const sending = send([first, second, liar, killed], "--patience", "3s", "--retry", "0");
  await sending.event(
    "progress",
    ({ receiver, verifiedBytes }) => receiver === 3 && Number(verifiedBytes) > 2e6,
  );
  killed.child.kill("SIGKILL");
  const { status, events } = await sending.ended;
  const peers = events.at(-1)?.["peers"] as PeerLine[];
  expect([status, ...peers.map(({ result }) => result)]).toEqual([
    3,
    "verified",
    "verified",
    "verified",
    "timed-out",
  ]);
  for (const name of ["r0", "r1", "liar"])
    expect(readFileSync(scene.path(name, "film")).equals(film)).toBe(true);
  const lied = events.filter(
    ({ event, ...rest }) => event === "relay-helper-dropped" && rest["reason"] === "lied",
  );
  expect(lied.length).toBeGreaterThan(0);
  expect(new Set(lied.map(({ helper }) => helper))).toEqual(new Set([liar.fingerprint]));
});

test("a receiver that was not announced is not let in, and holes and relay exclude each other", async () => {
  writeFileSync(scene.path("film"), "film");
  const receiver = await serve("r0");
  const stranger = await scene.run("stranger", ["send", "film", "--to", receiver.at, "--accept-new"]);
  expect(stranger.status).toBe(7);
  const { status, stderr } = await send([receiver], "--sparse").ended;
  expect([status, stderr.includes("leave out either sparse or relay")]).toEqual([2, true]);
});
