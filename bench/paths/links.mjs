// The two ways to have a bad path: `godwit link` (UDP, any machine) and the emulator (UDP and TCP, root on Linux).
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { queueBytes } from "./scenarios.mjs";

export const MAIN = resolve(import.meta.dirname, "../../dist/cli/main.js");
const NET = resolve(import.meta.dirname, "../emulator/net.sh");

/** Whether the emulator can run here. */
export const hasEmulator =
  process.platform === "linux" &&
  process.getuid?.() === 0 &&
  existsSync(NET) &&
  spawnSync("sh", ["-c", "command -v ip && command -v cc"]).status === 0;

/** Waits for the first line on a child's standard output and hands out its JSON. */
export function firstEvent(child) {
  return new Promise((done, fail) => {
    let text = "";
    child.stdout.on("data", (part) => {
      text += part;
      const end = text.indexOf("\n");
      if (end >= 0) done(JSON.parse(text.slice(0, end)));
    });
    child.on("exit", (status) => fail(new Error(`ended with ${status}: ${text}`)));
  });
}

const ended = (child) =>
  new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) done();
    else child.on("exit", done);
  });

/** `godwit link` in front of `port`. */
export async function relay(path, port) {
  const options = ["--delay", `${path.rtt / 2}ms`, "--rate", `${path.rate}mbit`];
  options.push("--queue", String(queueBytes(path)), "--mtu", "1472", "--seed", String(path.seed ?? 1));
  if (path.loss) options.push("--loss", `${path.loss}%`);
  if (path.jitter) options.push("--jitter", `${path.jitter}ms`);
  if (path.reorder) options.push("--reorder", path.reorder);
  if (path.duplicate) options.push("--duplicate", `${path.duplicate}%`);
  if (path.burst) options.push("--burst", path.burst);
  if (path.blackout) options.push("--outage", `${path.blackout[0]}s:${path.blackout[1]}s`);
  if (path.halved) {
    const [from, to] = path.halved;
    options.push("--at", `${from}s:rate=${path.rate / 2}mbit ${to}s:rate=${path.rate}mbit`);
  }
  const child = spawn(process.execPath, [MAIN, "link", "0", `127.0.0.1:${port}`, ...options], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (part) => (text += part));
  const listening = await firstEvent(child);
  const startedAt = performance.now();
  return {
    kind: "relay",
    host: `127.0.0.1:${listening.port}`,
    startedAt,
    stop: async () => {
      child.kill("SIGTERM");
      await ended(child);
      return JSON.parse(text.trimEnd().split("\n").at(-1));
    },
  };
}

/** The emulator between two namespaces: `near` runs commands at the sender, `far` at the receiver. */
export function emulator(path, directory) {
  const spec = [`rate=${path.rate}`, `delay=${path.rtt / 2}`, `queue=${queueBytes(path)}`];
  if (path.loss) spec.push(`loss=${path.loss}`);
  if (path.duplicate) spec.push(`dup=${path.duplicate}`);
  if (path.reorder) {
    const [percent, ms] = path.reorder.split(":").map(Number.parseFloat);
    spec.push(`reorder=${percent}`, `redelay=${ms}`);
  }
  const env = { ...process.env, TMPDIR: directory };
  execFileSync(NET, ["pair", spec.join(",")], { stdio: ["ignore", "ignore", "inherit"], env });
  return {
    kind: "emulator",
    host: "10.77.1.1",
    near: ["ip", "netns", "exec", "emu0"],
    far: ["ip", "netns", "exec", "emu1"],
    startedAt: performance.now(),
    stop: () => {
      execFileSync(NET, ["down"], { stdio: "ignore", env });
    },
  };
}
