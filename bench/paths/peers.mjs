// What a user would pick instead, over the emulator between two namespaces: every one moves the same file, one
// after the other.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { basename, dirname, join } from "node:path";
import { emulator } from "./links.mjs";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const isInstalled = (command) => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;

/** Bytes of `source` that are in their places in `bytes`: a file may have holes, and more of them than blocks of a disk. */
function arrived(bytes, source) {
  const original = readFileSync(source.path);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 100)
    if (bytes.subarray(at, at + 100).equals(original.subarray(at, at + 100))) sum += 100;
  return Math.min(sum, source.bytes);
}

/**
 * Runs a command in a namespace: its exit status and seconds. At the limit it is killed; `atLimit` is what was in
 * the target by then.
 */
function timed(prefix, command, limitSeconds, target) {
  const child = spawn(prefix[0], [...prefix.slice(1), ...command], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  let atLimit;
  child.stderr.on("data", (part) => (stderr += part));
  const startedAt = performance.now();
  const limit = setTimeout(() => {
    atLimit = existsSync(target) ? readFileSync(target) : Buffer.alloc(0);
    child.kill("SIGKILL");
  }, limitSeconds * 1_000);
  return new Promise((done) =>
    child.on("close", (status) => {
      clearTimeout(limit);
      const seconds = (performance.now() - startedAt) / 1_000;
      done({ status, seconds, atLimit, stderr: stderr.trim().slice(-200) });
    }),
  );
}

/** Starts a server in the receiver's namespace. */
function background(link, command) {
  const child = spawn(link.far[0], [...link.far.slice(1), ...command], { stdio: "ignore" });
  return () => child.kill("SIGKILL");
}

function sshFiles(scene) {
  const directory = join(scene, "ssh");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { mode: 0o700 });
  for (const name of ["host", "user"])
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(directory, name)]);
  writeFileSync(join(directory, "authorized_keys"), readFileSync(join(directory, "user.pub")), {
    mode: 0o600,
  });
  writeFileSync(
    join(directory, "config"),
    `Port 2222\nHostKey ${directory}/host\nAuthorizedKeysFile ${directory}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n`,
  );
  mkdirSync("/run/sshd", { recursive: true });
  return directory;
}

/** Sends with rsync to a daemon, without its delta algorithm and without a temporary copy. */
async function rsync({ link, source, target, scene, limit }) {
  const config = join(scene, "rsyncd.conf");
  writeFileSync(
    config,
    `use chroot = no\n[in]\npath = ${dirname(target)}\nread only = no\nuid = root\ngid = root\n`,
  );
  const port = ["--port", "8730"];
  const stop = background(link, ["rsync", "--daemon", "--no-detach", ...port, "--config", config]);
  await pause(500);
  const to = `rsync://${link.host}:8730/in/${basename(target)}`;
  const run = await timed(link.near, ["rsync", "-W", "--inplace", source.path, to], limit, target);
  stop();
  return run;
}

/** Runs `work` with another congestion control of the kernel at the sender. */
async function withTcp(link, name, work) {
  const set = (value) => {
    const [command, ...words] = [...link.near, "sysctl", "-qw", `net.ipv4.tcp_congestion_control=${value}`];
    execFileSync(command, words);
  };
  set(name);
  try {
    return await work();
  } finally {
    set("cubic");
  }
}

/**
 * Sends with UFTP to one receiver by unicast, unencrypted as it is unless asked, in datagrams as long as the link
 * carries, with large buffers; `how` is its rate or its congestion control.
 */
async function uftp({ link, source, target, limit }, how) {
  const receiver = ["uftpd", "-d", "-I", link.host, "-D", dirname(target), "-U", "0x00000001"];
  const stop = background(link, [...receiver, "-B", "4194304", "-L", "/dev/null"]);
  await pause(500);
  const sender = ["uftp", "-M", link.host, "-I", "10.77.0.1", "-H", "0x00000001"];
  const options = ["-b", "1400", "-B", "4194304", "-D", basename(target), "-x", "0", ...how];
  const run = await timed(link.near, [...sender, ...options, source.path], limit, target);
  stop();
  return run;
}

const hasBbr = () => {
  const file = "/proc/sys/net/ipv4/tcp_available_congestion_control";
  return existsSync(file) && readFileSync(file, "utf8").includes("bbr");
};

/** What each needs; why it cannot be had here, if `absent` says so; and one run of it. */
const PEERS = {
  scp: {
    needs: ["scp", "sshd"],
    run: async ({ link, source, target, scene, limit }) => {
      const directory = sshFiles(scene);
      const stop = background(link, ["/usr/sbin/sshd", "-D", "-f", join(directory, "config")]);
      await pause(700);
      const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
      const words = ["-q", "-P", "2222", ...options.flatMap((one) => ["-o", one])];
      const to = `${userInfo().username}@${link.host}:${target}`;
      const command = ["scp", ...words, "-i", join(directory, "user"), source.path, to];
      const run = await timed(link.near, command, limit, target);
      stop();
      return run;
    },
  },
  rsync: { needs: ["rsync"], run: rsync },
  "rsync-bbr": {
    needs: ["rsync"],
    absent: () => (hasBbr() ? undefined : "this kernel has no BBR"),
    run: (setup) => withTcp(setup.link, "bbr", () => rsync(setup)),
  },
  curl: {
    needs: ["curl"],
    // The server is far, so the file comes the other way: the link is the same both ways.
    run: async ({ link, source, target, limit }) => {
      const program = `require("http").createServer((_, r) => require("fs").createReadStream(${JSON.stringify(source.path)}, { highWaterMark: 1 << 20 }).pipe(r)).listen(8080)`;
      const stop = background(link, [process.execPath, "-e", program]);
      await pause(700);
      const command = ["curl", "-sf", "-o", target, `http://${link.host}:8080/`];
      const run = await timed(link.near, command, limit, target);
      stop();
      return run;
    },
  },
  "curl-http3": {
    needs: ["curl"],
    absent: () =>
      execFileSync("curl", ["--version"], { encoding: "utf8" }).includes("HTTP3")
        ? "no HTTP/3 server is set up by this benchmark"
        : "this machine's curl has no HTTP/3",
  },
  iperf3: {
    needs: ["iperf3"],
    // Moves no file: what TCP alone could do.
    run: async ({ link, source, limit }) => {
      const stop = background(link, ["iperf3", "-s", "-1"]);
      await pause(500);
      const command = [...link.near, "iperf3", "-c", link.host, "-t", String(Math.min(limit, 20)), "-J"];
      const { stdout } = spawnSync(command[0], command.slice(1), { encoding: "utf8", timeout: 60_000 });
      stop();
      const { bytes } = JSON.parse(stdout).end?.sum_received ?? {};
      if (bytes === undefined) return { status: 1, seconds: 0, stderr: "iperf3 failed" };
      return { status: 0, seconds: (Math.min(limit, 20) * source.bytes) / bytes, movesNoFile: true };
    },
  },
  uftp: {
    needs: ["uftp", "uftpd"],
    // Its rate is typed, in Kbit/s: the link's. It has no congestion control then.
    run: (setup) => uftp(setup, ["-R", String(setup.path.rate * 1_000)]),
  },
  "uftp-tfmcc": {
    needs: ["uftp", "uftpd"],
    // Its congestion control: RFC 4654, with the link's rate as the most.
    run: (setup) => uftp(setup, ["-C", `tfmcc:max=${setup.path.rate * 1_000}`]),
  },
};

/** All contestants by name. */
export const PEER_NAMES = Object.keys(PEERS);

/**
 * Mbit/s of godwit and of each peer that is installed, process start included, over the emulator, one after the
 * other. Who is not done at the limit gets the rate of what had arrived by then.
 */
export async function peerTransfers(path, source, { names, limit, inbox, scene, isSame, godwit, serve }) {
  const found = {};
  const link = emulator(path, scene);
  const mbit = (bytes, seconds) => Number(((bytes * 8) / seconds / 1e6).toFixed(2));
  try {
    rmSync(inbox, { recursive: true, force: true });
    mkdirSync(inbox);
    const server = await serve(link.far, link.host);
    const { status, wall } = await godwit(source, link, server).ended;
    server.child.kill("SIGKILL");
    await server.ended;
    found.godwit =
      status === 0 && (await isSame(join(inbox, "source.bin"), source))
        ? { mbit: mbit(source.bytes, wall) }
        : { failed: String(status) };
    for (const name of names) {
      const peer = PEERS[name];
      const missing = peer.needs.find((command) => !isInstalled(command));
      const absent = missing === undefined ? peer.absent?.() : `${missing} is not installed`;
      if (absent !== undefined) {
        found[name] = { absent };
        continue;
      }
      const target = join(inbox, `${name}.bin`);
      const run = await peer.run({ path, link, source, target, scene, limit });
      if (run.atLimit !== undefined)
        found[name] = { mbit: mbit(arrived(run.atLimit, source), limit), cutOffAfter: limit };
      else if (run.status !== 0) found[name] = { failed: run.stderr || String(run.status) };
      else if (run.movesNoFile !== true && !(await isSame(target, source)))
        found[name] = { failed: "file differs" };
      else found[name] = { mbit: mbit(source.bytes, run.seconds) };
      rmSync(target, { force: true });
    }
  } finally {
    link.stop();
  }
  return found;
}
