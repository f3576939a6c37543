// What a user would pick instead, over the emulator between two namespaces: every one moves the same file.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { emulator } from "./links.mjs";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const isInstalled = (command) => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;

function sizeOf(path) {
  return existsSync(path) ? statSync(path).size : 0;
}

/** Runs a command in a namespace; its seconds, or why not. */
function timed(prefix, command, limitSeconds) {
  const child = spawn(prefix[0], [...prefix.slice(1), ...command], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (part) => (stderr += part));
  const startedAt = performance.now();
  const limit = setTimeout(() => child.kill("SIGKILL"), limitSeconds * 1_000);
  return new Promise((done) =>
    child.on("close", (status) => {
      clearTimeout(limit);
      done({ status, seconds: (performance.now() - startedAt) / 1_000, stderr: stderr.trim().slice(-200) });
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

const PEERS = {
  scp: {
    needs: ["scp", "sshd"],
    run: async ({ link, source, target, scene, limit }) => {
      const directory = sshFiles(scene);
      const stop = background(link, ["/usr/sbin/sshd", "-D", "-f", join(directory, "config")]);
      await pause(700);
      const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
      const run = await timed(
        link.near,
        [
          "scp",
          "-q",
          "-P",
          "2222",
          ...options.flatMap((one) => ["-o", one]),
          "-i",
          join(directory, "user"),
        ].concat(source.path, `${userInfo().username}@${link.host}:${target}`),
        limit,
      );
      stop();
      return run;
    },
  },
  rsync: {
    needs: ["rsync"],
    run: async ({ link, source, target, scene, limit }) => {
      const config = join(scene, "rsyncd.conf");
      writeFileSync(
        config,
        `use chroot = no\n[in]\npath = ${dirname(target)}\nread only = no\nuid = root\ngid = root\n`,
      );
      const stop = background(link, [
        "rsync",
        "--daemon",
        "--no-detach",
        "--port",
        "8730",
        "--config",
        config,
      ]);
      await pause(500);
      const to = `rsync://${link.host}:8730/in/${target.slice(dirname(target).length + 1)}`;
      const run = await timed(link.near, ["rsync", "-W", "--inplace", source.path, to], limit);
      stop();
      return run;
    },
  },
  curl: {
    needs: ["curl"],
    // The server is far, so the file comes the other way: the link is the same both ways.
    run: async ({ link, source, target, limit }) => {
      const program = `require("http").createServer((_, r) => require("fs").createReadStream(${JSON.stringify(source.path)}, { highWaterMark: 1 << 20 }).pipe(r)).listen(8080)`;
      const stop = background(link, [process.execPath, "-e", program]);
      await pause(700);
      const run = await timed(link.near, ["curl", "-sf", "-o", target, `http://${link.host}:8080/`], limit);
      stop();
      return run;
    },
  },
  iperf3: {
    needs: ["iperf3"],
    movesNoFile: true,
    run: async ({ link, source, limit }) => {
      const stop = background(link, ["iperf3", "-s", "-1"]);
      await pause(500);
      const run = await timed(link.near, ["iperf3", "-c", link.host, "-n", String(source.bytes)], 4 * limit);
      stop();
      return run;
    },
  },
};

/** Mbit/s of godwit and of each peer that is installed, process start included, over the emulator. */
export async function peerTransfers(path, source, { names, inbox, scene, isSame, godwit, serve }) {
  const found = {};
  const link = emulator(path, scene);
  const limit = 40;
  const mbit = (seconds) => Number(((source.bytes * 8) / seconds / 1e6).toFixed(2));
  try {
    rmSync(inbox, { recursive: true, force: true });
    mkdirSync(inbox);
    const server = await serve(link.far, link.host);
    const { status, wall } = await godwit(source, link, server).ended;
    server.child.kill("SIGKILL");
    await server.ended;
    found.godwit =
      status === 0 && (await isSame(join(inbox, "source.bin"), source))
        ? { mbit: mbit(wall) }
        : { failed: String(status) };
    for (const name of names) {
      const peer = PEERS[name];
      if (peer === undefined || !peer.needs.every(isInstalled)) continue;
      const target = join(inbox, `${name}.bin`);
      const { status, seconds, stderr } = await peer.run({ link, source, target, scene, limit });
      // Not done in time: what was there by then.
      if (status === null && peer.movesNoFile !== true)
        found[name] = { mbit: mbit(limit * (source.bytes / sizeOf(target))), isCutOff: true };
      else if (status !== 0) found[name] = { failed: stderr || String(status) };
      else if (peer.movesNoFile !== true && !(await isSame(target, source)))
        found[name] = { failed: "file differs" };
      else found[name] = { mbit: mbit(seconds) };
    }
  } finally {
    link.stop();
  }
  return found;
}
