/** Peers that do nothing, answering every packet or none: each side gives up after its patience, with status 6. */
import { mkdirSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { dialHostile, ENTRY, REQUEST, serveHostile } from "../support/hostile-peer.ts";
import { Scene } from "./godwit.ts";

let scene: Scene;
const peers: { close(): void }[] = [];

beforeEach(() => {
  scene = new Scene();
});

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.close();
  await scene.close();
});

test("send, get, ls at a mute server", async () => {
  const mute = await serveHostile(() => undefined);
  peers.push(mute);
  const to = `127.0.0.1:${mute.port}`;
  writeFileSync(scene.path("a"), "a");
  const commands = [
    ["send", "a", "--to", to],
    ["get", `${to}/a`, "--into", "back"],
    ["ls", to],
  ];
  const ended = await Promise.all(
    commands.map(
      (command, i) =>
        scene.start(`client${i}`, [...command, "--accept-new", "--patience", "5s", "--json"]).ended,
    ),
  );
  for (const [i, { status, events }] of ended.entries()) {
    expect([commands[i][0], status, events.at(-1)]).toMatchObject([
      commands[i][0],
      6,
      {
        exit: 6,
        errors: [{ code: "NO_PROGRESS", text: expect.stringContaining("no progress for 5 s") as string }],
      },
    ]);
  }
});

test("serve lets go of a mute sender and of a mute getter", async () => {
  mkdirSync(scene.path("inbox"));
  writeFileSync(scene.path("inbox/b"), new Uint8Array(1_000_000));
  const { at } = await scene.serve("server", "inbox", ["--open", "--patience", "5s"]);
  const sender = await dialHostile(at, scene.path("home-sender"));
  const getter = await dialHostile(at, scene.path("home-getter"));
  peers.push(sender, getter);
  sender.session.say(REQUEST, ENTRY);
  getter.session.say({ ...REQUEST, mode: "pull", paths: ["b"] });
  for (const peer of [sender, getter]) peer.host.wake();
  expect([await sender.session.gone(), await getter.session.gone()]).toEqual(["NO_PROGRESS", "NO_PROGRESS"]);
});

test("send to a server that stops answering while the window is full", async () => {
  mkdirSync(scene.path("inbox"));
  writeFileSync(scene.path("big"), new Uint8Array(300_000_000));
  const server = await scene.serve("server", "inbox", ["--open"]);
  const sender = scene.start(
    "client",
    ["send", "big", "--to", server.at, "--accept-new", "--rate", "400mbit", "--patience", "5s", "--json"],
    { limitMs: 60_000 },
  );
  await sender.event("progress", ({ verifiedBytes }) => Number(verifiedBytes) > 20_000_000);
  server.child.kill("SIGSTOP");
  const { status, events } = await sender.ended;
  server.child.kill("SIGCONT");
  expect([status, events.at(-1)]).toMatchObject([6, { exit: 6 }]);
});
