// What moves one file between two processes, on loopback or between two network namespaces. Each
// contestant says how long it took and what CPU time and memory both of its ends used.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { nativeBinding } from "../../dist/node/sockets/native-loader.js";
import { measure } from "../raw/measure.mjs";

const main = resolve(import.meta.dirname, "../../dist/cli/main.js");
const TIME = ["/usr/bin/time", "-f", "TIME %U %S %M"];
/** No run takes this long; one that hangs must not take the others with it. */
const LONGEST_MS = 20 * 60_000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const installed = (command) => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;

/** What almost everybody has: the tables compare with it. */
export const SCP = "scp, then sync";

/** Loopback: both ends in this namespace. */
export const LOOPBACK = { name: "loopback", address: "127.0.0.1", sender: [], receiver: [], stop() {} };

/** A pair of virtual Ethernet devices with an MTU of 1 500 between two namespaces; needs root. */
export function vethPair() {
  const tag = `gw${process.pid}`;
  const ip = (...words) => execFileSync("ip", words);
  for (const end of ["a", "b"]) ip("netns", "add", `${tag}${end}`);
  ip(
    "link",
    "add",
    `${tag}v`,
    "netns",
    `${tag}a`,
    "type",
    "veth",
    "peer",
    "name",
    `${tag}w`,
    "netns",
    `${tag}b`,
  );
  for (const [end, device, address] of [
    ["a", "v", "10.83.0.1/24"],
    ["b", "w", "10.83.0.2/24"],
  ]) {
    ip("-n", `${tag}${end}`, "link", "set", "lo", "up");
    ip("-n", `${tag}${end}`, "addr", "add", address, "dev", `${tag}${device}`);
    ip("-n", `${tag}${end}`, "link", "set", `${tag}${device}`, "up");
  }
  return {
    name: "veth, MTU 1 500",
    address: "10.83.0.2",
    sender: ["ip", "netns", "exec", `${tag}a`],
    receiver: ["ip", "netns", "exec", `${tag}b`],
    stop() {
      for (const end of ["a", "b"]) spawnSync("ip", ["netns", "del", `${tag}${end}`]);
    },
  };
}

/** Runs a command under time(1), inside a namespace. */
function timed(place, command, { out = "ignore", env = {} } = {}) {
  const words = [...place, ...TIME, ...command];
  const child = spawn(words[0], words.slice(1), {
    stdio: ["ignore", out, "pipe"],
    env: { ...process.env, ...env },
    timeout: LONGEST_MS,
  });
  let text = "";
  child.stderr.on("data", (part) => (text += part));
  const started = performance.now();
  const ended = new Promise((done) =>
    child.on("close", (status) => {
      const match = /TIME ([\d.]+) ([\d.]+) (\d+)/.exec(text);
      done({
        status,
        seconds: (performance.now() - started) / 1000,
        cpu: match === null ? NaN : Number(match[1]) + Number(match[2]),
        rssMib: match === null ? NaN : Number(match[3]) / 1024,
        text,
      });
    }),
  );
  return { child, ended };
}

/** The first line a server writes; fails when it ends without one. */
async function firstLine(server) {
  const line = new Promise((done) => server.child.stdout.once("data", done));
  const ended = server.ended.then(({ text }) => {
    throw new Error(`the server ended before it was ready: ${text}`);
  });
  // Of the two only the first counts; that the server ends later is no failure.
  ended.catch(() => undefined);
  const first = String(await Promise.race([line, ended])).split("\n")[0];
  server.child.stdout.resume();
  return first;
}

/** Makes a received file durable, as godwit does by itself: the time for it belongs to the transfer. */
function sync(result) {
  const started = performance.now();
  const before = process.cpuUsage();
  for (const name of [result.file, dirname(result.file)]) {
    const file = openSync(name, "r");
    fsyncSync(file);
    closeSync(file);
  }
  const { user, system } = process.cpuUsage(before);
  const seconds = result.seconds + (performance.now() - started) / 1000;
  return { ...result, seconds, cpu: [result.cpu[0], result.cpu[1] + (user + system) / 1e6] };
}

function outcome(sender, receiver, file) {
  if (sender.status !== 0) throw new Error(sender.text);
  return {
    seconds: sender.seconds,
    cpu: [sender.cpu, receiver.cpu],
    rss: [sender.rssMib, receiver.rssMib],
    file,
  };
}

/** godwit; `env` chooses the backend, `node` the program that runs it. */
async function godwit(scene, env, node = process.execPath) {
  const { path, inbox, source, directory } = scene;
  const home = mkdtempSync(join(directory, "home-"));
  const words = ["serve", inbox, "--listen", `${path.address}:0`, "--open", "--once", "--json"];
  const server = timed(path.receiver, [node, main, ...words, "--home", join(home, "server")], {
    out: "pipe",
    env,
  });
  const { port } = JSON.parse(await firstLine(server));
  const client = await timed(
    path.sender,
    [
      node,
      main,
      "send",
      source,
      "--to",
      `${path.address}:${port}`,
      "--accept-new",
      "--quiet",
      "--home",
      join(home, "client"),
    ],
    { env },
  ).ended;
  return outcome(client, await server.ended, join(inbox, "source.bin"));
}

// An ssh server of our own with keys of its own: nothing of the machine's configuration is used. It
// ends after each run, so that time(1) knows what it and its children used.
async function throughSsh(scene, command) {
  const { path, directory } = scene;
  const keys = join(directory, "ssh");
  if (!existsSync(keys)) {
    mkdirSync(keys, { mode: 0o700 });
    for (const name of ["host", "user"])
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(keys, name)]);
    writeFileSync(join(keys, "authorized_keys"), readFileSync(join(keys, "user.pub")), { mode: 0o600 });
    mkdirSync("/run/sshd", { recursive: true });
  }
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const pidFile = join(keys, "pid");
  const config = [
    `Port ${port}`,
    `ListenAddress ${path.address}`,
    `HostKey ${keys}/host`,
    `AuthorizedKeysFile ${keys}/authorized_keys`,
    `PidFile ${pidFile}`,
    "StrictModes no",
    "UsePAM no",
    "PermitRootLogin yes",
    "Subsystem sftp internal-sftp",
    "",
  ].join("\n");
  writeFileSync(join(keys, "config"), config);
  const server = timed(path.receiver, ["/usr/sbin/sshd", "-D", "-f", join(keys, "config")]);
  await pause(500);
  const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
  const ssh = [...options.flatMap((option) => ["-o", option]), "-i", join(keys, "user")];
  const client = await timed(path.sender, command(port, ssh, `${userInfo().username}@${path.address}`)).ended;
  await pause(100);
  process.kill(Number(readFileSync(pidFile, "utf8")), "SIGTERM");
  return { client, server: await server.ended };
}

async function scp(scene) {
  const file = join(scene.inbox, "scp.bin");
  const { client, server } = await throughSsh(scene, (port, ssh, at) => [
    "scp",
    "-q",
    "-P",
    String(port),
    ...ssh,
    scene.source,
    `${at}:${file}`,
  ]);
  return sync(outcome(client, server, file));
}

async function rsync(scene) {
  const file = join(scene.inbox, "rsync.bin");
  const { client, server } = await throughSsh(scene, (port, ssh, at) => [
    "rsync",
    "-W",
    "-e",
    `ssh -p ${port} ${ssh.join(" ")}`,
    scene.source,
    `${at}:${file}`,
  ]);
  return sync(outcome(client, server, file));
}

const HTTP_SERVER = `
  const server = require("http").createServer((_, response) =>
    require("fs").createReadStream(process.argv[1], { highWaterMark: 1 << 20 }).pipe(response)
      .on("close", () => server.close()));
  server.listen(0, process.argv[2], () => console.log(server.address().port));`;

/** Here the receiver is the client: it gets the file. */
async function curl(scene) {
  const { path, inbox, source } = scene;
  const file = join(inbox, "curl.bin");
  // The server is on the sender's side; its address is the sender's.
  const address = path.address === "127.0.0.1" ? path.address : "10.83.0.1";
  const server = timed(path.sender, [process.execPath, "-e", HTTP_SERVER, source, address], { out: "pipe" });
  const port = Number(await firstLine(server));
  const url = `http://${address}:${port}/`;
  const client = await timed(path.receiver, ["curl", "-s", "-H", "Connection: close", "-o", file, url]).ended;
  const served = await server.ended;
  if (client.status !== 0) throw new Error(client.text);
  const { seconds } = client;
  return sync({ seconds, cpu: [served.cpu, client.cpu], rss: [served.rssMib, client.rssMib], file });
}

async function iperf3(scene) {
  const { path, bytes } = scene;
  const server = timed(path.receiver, ["iperf3", "-s", "-1", "-B", path.address, "-p", "20999"]);
  await pause(300);
  const words = ["-c", path.address, "-p", "20999", "-n", String(bytes)];
  let client = await timed(path.sender, ["iperf3", ...words]).ended;
  // On a busy machine its server may not listen yet.
  for (let i = 0; client.status !== 0 && i < 10; i++) {
    await pause(1_000);
    client = await timed(path.sender, ["iperf3", ...words]).ended;
  }
  return outcome(client, await server.ended, undefined);
}

/** A raw loop on loopback: what sockets and AEAD alone would need for as many bytes. */
async function rawLoop(scene, kind, datagramBytes) {
  const loop = await measure({ kind, aead: true, datagramBytes, host: "127.0.0.1", seconds: 2 });
  const seconds = (scene.bytes * 8) / (loop.gbitPerSecond * 1e9);
  const packets = scene.bytes / loop.payloadBytesPerPacket;
  const cpu = [loop.senderUsPerPacket, loop.receiverUsPerPacket].map((us) => (us * packets) / 1e6);
  return { seconds, cpu, rss: [NaN, NaN], file: undefined };
}

/** godwit's two backends; on another Node than the running one they bear its version. */
function backends(node) {
  const version =
    node === undefined ? "" : ` ${execFileSync(node, ["--version"], { encoding: "utf8" }).trim()}`;
  return [
    {
      name: version === "" ? "godwit, native" : `godwit, native, Node${version}`,
      run: (scene) => godwit(scene, { GODWIT_NATIVE: "1" }, node),
    },
    {
      name: `godwit, plain Node${version}`,
      run: (scene) => godwit(scene, { GODWIT_NATIVE: "0" }, node),
    },
  ];
}

/**
 * Those of `peers` that are installed, behind godwit's two backends on the running Node and on each of
 * `nodes` (paths of other Node programs); `raw` adds the loops without transport, hash and disk.
 */
export function contestants(peers, { raw = [], nodes = [] } = {}) {
  const list = [undefined, ...nodes].flatMap(backends);
  const hasServer = existsSync("/usr/sbin/sshd");
  if (peers.includes("scp") && installed("scp") && hasServer) list.push({ name: SCP, run: scp });
  if (peers.includes("rsync") && installed("rsync") && hasServer)
    list.push({ name: "rsync over ssh, then sync", run: rsync });
  if (peers.includes("curl") && installed("curl"))
    list.push({ name: "curl, plain HTTP, then sync", run: curl });
  if (peers.includes("iperf3") && installed("iperf3"))
    list.push({ name: "iperf3: TCP, no file, no encryption", run: iperf3 });
  for (const bytes of raw) {
    const name = `AEAD and sockets alone on loopback, datagrams of ${bytes} bytes`;
    if (nativeBinding() !== undefined)
      list.push({ name: `addon: ${name}`, run: (scene) => rawLoop(scene, "native", bytes) });
    list.push({ name: `plain Node: ${name}`, run: (scene) => rawLoop(scene, "bare", bytes) });
  }
  return list;
}
