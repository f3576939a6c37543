// End to end on this machine: godwit, native and plain, against what a user would pick instead.
//   npm run bench:loopback -- [--mib 1024] [--runs 3] [--dir /dev/shm] [--peers scp,rsync,curl,iperf3]
// Every run moves one file of random bytes between two processes on loopback; both are timed by
// /usr/bin/time (CPU seconds and peak memory of each side). Peers that are not installed are left out.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:http";
import { cpus, loadavg, release, tmpdir, userInfo } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    mib: { type: "string", default: "1024" },
    runs: { type: "string", default: "3" },
    dir: { type: "string", default: existsSync("/dev/shm") ? "/dev/shm" : tmpdir() },
    peers: { type: "string", default: "scp,rsync,curl,iperf3" },
    json: { type: "boolean", default: false },
  },
});
const bytes = Number(values.mib) * 1024 * 1024;
const runs = Number(values.runs);
const scene = mkdtempSync(join(values.dir, "godwit-bench-"));
const main = resolve(import.meta.dirname, "../../dist/cli/main.js");
const source = join(scene, "source.bin");
const inbox = join(scene, "inbox");
const time = ["/usr/bin/time", "-f", "TIME %U %S %M"];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function makeSource() {
  const file = openSync(source, "w");
  const block = randomBytes(8 * 1024 * 1024);
  for (let left = bytes; left > 0; left -= block.length) {
    block.writeUInt32LE(left % 0xffff_ffff, 0);
    writeSync(file, block, 0, Math.min(block.length, left));
  }
  closeSync(file);
}

async function digest(path) {
  const hash = createHash("sha256");
  for await (const part of createReadStream(path, { highWaterMark: 4 << 20 })) hash.update(part);
  return hash.digest("hex");
}

/** Runs a command under /usr/bin/time: seconds, CPU seconds, peak memory in MiB. */
function timed(command, options = {}) {
  const child = spawn(time[0], [...time.slice(1), ...command], {
    stdio: ["ignore", options.out ?? "ignore", "pipe"],
    env: { ...process.env, ...options.env },
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

async function godwit(native) {
  const env = { GODWIT_NATIVE: native ? "1" : "0" };
  const server = timed(
    [
      process.execPath,
      main,
      "serve",
      inbox,
      "--listen",
      "127.0.0.1:0",
      "--open",
      "--once",
      "--json",
      "--home",
      join(scene, "server"),
    ],
    { out: "pipe", env },
  );
  const port = await new Promise((done) =>
    server.child.stdout.once("data", (line) => done(JSON.parse(String(line).split("\n")[0]).port)),
  );
  server.child.stdout.resume();
  const client = await timed(
    [
      process.execPath,
      main,
      "send",
      source,
      "--to",
      `127.0.0.1:${port}`,
      "--accept-new",
      "--quiet",
      "--home",
      join(scene, `client-${port}`),
    ],
    { env },
  ).ended;
  const served = await server.ended;
  if (client.status !== 0) throw new Error(client.text);
  return {
    seconds: client.seconds,
    cpu: client.cpu + served.cpu,
    rss: [client.rssMib, served.rssMib],
    file: join(inbox, "source.bin"),
  };
}

// An ssh server of our own on loopback with keys of its own: nothing of the machine's configuration is used.
let ssh;
async function sshServer() {
  if (ssh !== undefined) return ssh;
  const directory = join(scene, "ssh");
  mkdirSync(directory, { mode: 0o700 });
  for (const name of ["host", "user"])
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(directory, name)]);
  writeFileSync(join(directory, "authorized_keys"), readFileSync(join(directory, "user.pub")), {
    mode: 0o600,
  });
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  writeFileSync(
    join(directory, "config"),
    `Port ${port}\nListenAddress 127.0.0.1\nHostKey ${directory}/host\nAuthorizedKeysFile ${directory}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n`,
  );
  mkdirSync("/run/sshd", { recursive: true });
  const server = spawn("/usr/sbin/sshd", ["-D", "-f", join(directory, "config")], { stdio: "ignore" });
  await pause(500);
  const options = [
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "LogLevel=ERROR",
    "-i",
    join(directory, "user"),
  ];
  ssh = { port, options, stop: () => server.kill() };
  return ssh;
}

async function scp() {
  const { port, options } = await sshServer();
  const target = join(inbox, "scp.bin");
  const run = await timed([
    "scp",
    "-q",
    "-P",
    String(port),
    ...options,
    source,
    `${userInfo().username}@127.0.0.1:${target}`,
  ]).ended;
  if (run.status !== 0) throw new Error(run.text);
  return { seconds: run.seconds, cpu: NaN, rss: [run.rssMib], file: target };
}

async function rsync() {
  const { port, options } = await sshServer();
  const target = join(inbox, "rsync.bin");
  const run = await timed([
    "rsync",
    "-W",
    "-e",
    `ssh -p ${port} ${options.join(" ")}`,
    source,
    `${userInfo().username}@127.0.0.1:${target}`,
  ]).ended;
  if (run.status !== 0) throw new Error(run.text);
  return { seconds: run.seconds, cpu: NaN, rss: [run.rssMib], file: target };
}

async function curl() {
  const server = createServer((_, response) =>
    createReadStream(source, { highWaterMark: 1 << 20 }).pipe(response),
  );
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const target = join(inbox, "curl.bin");
  const run = await timed(["curl", "-s", "-o", target, `http://127.0.0.1:${server.address().port}/`]).ended;
  server.close();
  if (run.status !== 0) throw new Error(run.text);
  return { seconds: run.seconds, cpu: NaN, rss: [run.rssMib], file: target };
}

async function iperf3() {
  const server = spawn("iperf3", ["-s", "-1", "-B", "127.0.0.1", "-p", "20999"], { stdio: "ignore" });
  await pause(300);
  const run = await timed(["iperf3", "-c", "127.0.0.1", "-p", "20999", "-n", String(bytes)]).ended;
  server.kill();
  if (run.status !== 0) throw new Error(run.text);
  return { seconds: run.seconds, cpu: NaN, rss: [run.rssMib], file: undefined };
}

const installed = (command) => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
const contestants = { "godwit, native": () => godwit(true), "godwit, plain Node": () => godwit(false) };
const peers = values.peers.split(",");
if (peers.includes("scp") && installed("scp") && existsSync("/usr/sbin/sshd")) contestants.scp = scp;
if (peers.includes("rsync") && installed("rsync") && existsSync("/usr/sbin/sshd"))
  contestants["rsync over ssh"] = rsync;
if (peers.includes("curl") && installed("curl")) contestants["curl, plain HTTP"] = curl;
if (peers.includes("iperf3") && installed("iperf3")) contestants["iperf3 (TCP, no file)"] = iperf3;

try {
  makeSource();
  const wanted = await digest(source);
  const results = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let run = 0; run < runs; run++) {
    for (const [name, contest] of Object.entries(contestants)) {
      rmSync(inbox, { recursive: true, force: true });
      mkdirSync(inbox);
      const outcome = await contest();
      if (outcome.file !== undefined) {
        if (statSync(outcome.file).size !== bytes || (await digest(outcome.file)) !== wanted)
          throw new Error(`${name}: the file differs`);
      }
      results[name].push(outcome);
      process.stderr.write(`${name}: ${((bytes * 8) / outcome.seconds / 1e6).toFixed(0)} Mbit/s\n`);
    }
  }
  const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
  const rows = Object.entries(results).map(([name, list]) => ({
    name,
    mbit: (bytes * 8) / median(list.map(({ seconds }) => seconds)) / 1e6,
    cpuPerGib: median(list.map(({ cpu }) => cpu)) / (bytes / 2 ** 30),
    rss: list[0].rss.map((_, i) => Math.max(...list.map(({ rss }) => rss[i]))),
  }));
  const first = rows[0].mbit;
  console.log(
    `\nOne file of ${values.mib} MiB over loopback in ${values.dir}, median of ${runs} alternating runs, process start included.`,
  );
  console.log(
    `${cpus().length} x ${cpus()[0].model.trim()}, Linux ${release()}, Node ${process.version}, load ${loadavg()[0].toFixed(1)}\n`,
  );
  console.log("| | Mbit/s | godwit native is | CPU s per GiB, both ends | peak memory MiB |");
  console.log("|---|---|---|---|---|");
  for (const { name, mbit, cpuPerGib, rss } of rows) {
    console.log(
      `| ${name} | ${mbit.toFixed(0)} | ${(first / mbit).toFixed(2)} x | ${Number.isNaN(cpuPerGib) ? "-" : cpuPerGib.toFixed(2)} | ${rss.map((mib) => mib.toFixed(0)).join(" / ")} |`,
    );
  }
} finally {
  ssh?.stop();
  rmSync(scene, { recursive: true, force: true });
}
