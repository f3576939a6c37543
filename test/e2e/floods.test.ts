/** Floods and greedy peers at a real `serve`: it stays small, answers little, and honest transfers go on. */
import { randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TRANSFERS_PER_PEER } from "../../src/base/limits.ts";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { temporaryIdentity } from "../../src/node/stores/identity.ts";
import { HandshakeInitiator } from "../../src/transport/handshake/initiator.ts";
import { DEFAULT_TRANSPORT_PARAMETERS } from "../../src/wire/transport-parameters.ts";
import { dialHostile, type HostilePeer } from "../support/hostile-peer.ts";
import { Scene, type Serving } from "./godwit.ts";

let scene: Scene;
let server: Serving;
let port = 0;
const sockets: Socket[] = [];
const peers: HostilePeer[] = [];

beforeEach(async () => {
  scene = new Scene();
  mkdirSync(scene.path("inbox"));
  server = await scene.serve("server", "inbox", ["--open"]);
  port = server.port;
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  for (const peer of peers.splice(0)) peer.close();
  await scene.close();
});

/** Bytes of memory that the server's process has in use. */
function serverMemoryBytes(): number {
  const status = readFileSync(`/proc/${server.child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1_024;
}

/** A socket on an address of its own, and what came back to it. */
async function stranger(address: string): Promise<{ socket: Socket; heard: { bytes: number } }> {
  const socket = createSocket("udp4");
  sockets.push(socket);
  const heard = { bytes: 0 };
  socket.on("message", (datagram) => (heard.bytes += datagram.length));
  await new Promise<void>((done) => socket.bind(0, address, done));
  return { socket, heard };
}

/** A well-formed first datagram of a handshake with new ids and keys. */
function makeInit(): Uint8Array {
  const crypto = nodeCryptoProvider();
  const { signing, staticKey } = temporaryIdentity(crypto);
  const initiator = new HandshakeInitiator(
    {
      crypto,
      identity: signing,
      staticKey,
      localParameters: DEFAULT_TRANSPORT_PARAMETERS,
      localConnectionId: crypto.randomBytes(new Uint8Array(8)),
      verifyPeer: () => undefined,
    },
    0,
  );
  return initiator.pollTransmit(0) ?? new Uint8Array(0);
}

const send = (socket: Socket, bytes: Uint8Array): Promise<void> =>
  new Promise((done) => socket.send(bytes, port, "127.0.0.1", () => done()));

async function honestSend(name: string): Promise<number | null> {
  writeFileSync(scene.path(name), randomBytes(2_000_000));
  return (await scene.run("client", ["send", name, "--to", `127.0.0.1:${port}`, "--accept-new"])).status;
}

describe("floods", () => {
  test("random, replayed and well-formed INITs from many addresses: at most three bytes for one", async () => {
    if (process.platform !== "linux") return;
    const inits = Array.from({ length: 200 }, makeInit);
    const before = serverMemoryBytes();
    const kinds: readonly [string, (i: number) => Uint8Array][] = [
      ["random", () => randomBytes(1 + Math.floor(Math.random() * 1_400))],
      ["empty", () => new Uint8Array(0)],
      ["short header", () => Buffer.concat([Uint8Array.of(0x40), randomBytes(40)])],
      ["one INIT again and again", () => inits[0]],
      ["new INITs", (i) => inits[i % inits.length]],
      ["INITs cut off", (i) => inits[i % inits.length].subarray(0, 1 + (i % 1_199))],
      ["INITs of another version", (i) => Uint8Array.of(...inits[i % inits.length]).fill(0x7a, 1, 5)],
      [
        "INITs altered",
        (i) => Uint8Array.from(inits[i % inits.length], (byte, at) => byte ^ (at === i ? 1 : 0)),
      ],
    ];
    const floods: { kind: string; sentBytes: number; answers: { bytes: number }[] }[] = [];
    for (const [index, [kind, make]] of kinds.entries()) {
      let sentBytes = 0;
      const answers: { bytes: number }[] = [];
      for (let host = 2; host < 12; host++) {
        const { socket, heard } = await stranger(`127.0.${index + 1}.${host}`);
        for (let i = 0; i < 300; i++) {
          const datagram = make(i);
          sentBytes += datagram.length;
          await send(socket, datagram);
        }
        answers.push(heard);
      }
      floods.push({ kind, sentBytes, answers });
    }
    expect(await honestSend("honest")).toBe(0);
    // The honest transfer took long enough for the answers, those that are repeated included.
    for (const { kind, sentBytes, answers } of floods) {
      const heardBytes = answers.reduce((sum, { bytes }) => sum + bytes, 0);
      expect([kind, heardBytes <= 3 * sentBytes]).toEqual([kind, true]);
    }
    await server.completed();
    expect(readdirSync(scene.path("inbox"))).toEqual(["honest"]);
    expect(serverMemoryBytes() - before).toBeLessThan(128 * 1_024 * 1_024);
  });
});

test("the ninth transfer of one peer is told that this machine is busy: exit 11", async () => {
  const home = scene.path("home-greedy");
  const at = `127.0.0.1:${port}`;
  for (let i = 0; i < TRANSFERS_PER_PEER; i++) {
    peers.push(await dialHostile(at, home));
  }
  writeFileSync(scene.path("a"), "a");
  const refused = await scene.run("greedy", ["send", "a", "--to", at]);
  expect([refused.status, refused.stderr.includes("too many transfers")]).toEqual([11, true]);
  // Others are not kept out, and a place that is given back can be had.
  expect(await honestSend("honest")).toBe(0);
  await peers.pop()?.end();
  expect((await scene.run("greedy", ["send", "a", "--to", at])).status).toBe(0);
});
