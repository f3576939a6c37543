/** Runs the built command line as a user would, with its own home directory, and cleans up after itself. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** The built entry point. */
export const MAIN: string = resolve(import.meta.dirname, "../../dist/cli/main.js");

/** The same command line as modules: what is preloaded can reach into them. */
export const MODULES: string = resolve(import.meta.dirname, "../../dist/cli/program.js");

/** `tsc` alone does not renew the bundle, and a test of yesterday's program proves nothing. */
function assertFresh(): void {
  const dist = resolve(import.meta.dirname, "../../dist");
  const builtMs = statSync(MAIN).mtimeMs;
  for (const file of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".js") || file.includes("bundle")) continue;
    if (statSync(join(dist, file)).mtimeMs > builtMs)
      throw new Error(`dist/${file} is newer than the bundle of the command line; run: npm run build`);
  }
}
assertFresh();

/** A command that takes longer hangs, in milliseconds: a hundred times what the slowest takes alone. */
const LIMIT_MS = 240_000;

/** How a command ended and what it said. */
export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
  /** The lines of `--json`; none without it. */
  readonly events: readonly JsonEvent[];
}

/** A JSON line of a command. */
export type JsonEvent = Record<string, unknown> & { readonly event: string };

/** Whether an event is the one that is waited for. */
type Fits = (event: JsonEvent) => boolean;

/** A command that is running. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Standard error so far. */
  stderr(): string;
  /** The first JSON line, past or future, with this event name that fits; rejects when the command ends first. */
  event(name: string, fits?: Fits): Promise<JsonEvent>;
  /** What of standard error, past or future, matches first; rejects when the command ends first. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
}

/** A `godwit serve` that listens. */
export interface Serving extends Running {
  readonly port: number;
  /** Its address, as `--to` takes it. */
  readonly at: string;
  readonly fingerprint: string;
  /** Resolves when a transfer is complete for the server, too: only then has it tidied up. */
  completed(): Promise<JsonEvent>;
}

/** A directory of its own with one home per machine that a test plays. */
export class Scene {
  readonly directory: string = mkdtempSync(join(tmpdir(), "godwit-e2e-"));
  private readonly running = new Set<ChildProcess>();

  /** A path in the scene's directory. */
  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** Starts `godwit ARGS` as machine `who`. */
  start(who: string, args: readonly string[], options: StartOptions = {}): Running {
    const child = spawn(process.execPath, [...(options.nodeArguments ?? []), options.main ?? MAIN, ...args], {
      cwd: options.cwd ?? this.directory,
      env: {
        PATH: process.env["PATH"],
        TMPDIR: process.env["TMPDIR"],
        GODWIT_NATIVE: process.env["GODWIT_NATIVE"],
        HOME: this.directory,
        GODWIT_HOME: this.path(`home-${who}`),
        ...options.environment,
      },
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    this.running.add(child);
    if (options.input !== undefined && child.stdin !== null) {
      child.stdin.on("error", () => undefined);
      child.stdin.end(options.input);
    }
    const out: Buffer[] = [];
    let stderr = "";
    let lines = "";
    let end: Ended | undefined;
    const events: JsonEvent[] = [];
    const waiting = new Set<() => void>();
    const wake = (): void => {
      for (const look of waiting) look();
    };
    child.stdout?.on("data", (bytes: Buffer) => {
      out.push(bytes);
      if (!args.includes("--json")) return;
      lines += bytes.toString("utf8");
      for (let at = lines.indexOf("\n"); at >= 0; at = lines.indexOf("\n")) {
        events.push(JSON.parse(lines.slice(0, at)) as JsonEvent);
        lines = lines.slice(at + 1);
      }
      wake();
    });
    child.stderr?.on("data", (bytes: Buffer) => {
      stderr += bytes.toString("utf8");
      wake();
    });
    const limit = setTimeout(() => child.kill("SIGKILL"), options.limitMs ?? LIMIT_MS);
    const ended = new Promise<Ended>((done) => {
      child.on("close", (status, signal) => {
        clearTimeout(limit);
        this.running.delete(child);
        end = { status, signal, stdout: Buffer.concat(out), stderr, events };
        wake();
        done(end);
      });
    });
    /** What `look` finds in the output, as soon as it is there. */
    const find = <T>(wanted: string, look: () => T | undefined): Promise<T> =>
      new Promise((done, fail) => {
        const step = (): void => {
          const found = look();
          if (found === undefined && end === undefined) return;
          waiting.delete(step);
          const how = `${end?.status ?? end?.signal}: ${stderr}`;
          if (found === undefined) fail(new Error(`no ${wanted}, godwit ${args[0]} ended with ${how}`));
          else done(found);
        };
        waiting.add(step);
        step();
      });
    return {
      child,
      ended,
      stderr: () => stderr,
      event: (name, fits = () => true) =>
        find(`${name} event`, () => events.find((event) => event.event === name && fits(event))),
      said: (pattern) => find(String(pattern), () => pattern.exec(stderr) ?? undefined),
    };
  }

  /** Starts `godwit serve DIRECTORY --json` on a free port as machine `who`, and resolves when it listens. */
  async serve(
    who: string,
    directory: string,
    more: readonly string[] = [],
    options: StartOptions = {},
  ): Promise<Serving> {
    const args = ["serve", directory, "--listen", "127.0.0.1:0", "--json", ...more];
    const running = this.start(who, args, options);
    const { port, fingerprint } = await running.event("listening");
    return {
      ...running,
      port: Number(port),
      at: `127.0.0.1:${String(port)}`,
      fingerprint: String(fingerprint),
      completed: () => running.event("transfer-ended", ({ exit }) => exit === 0),
    };
  }

  /** Runs `godwit ARGS` as machine `who` to its end. */
  run(who: string, args: readonly string[], options: StartOptions = {}): Promise<Ended> {
    return this.start(who, args, options).ended;
  }

  /** Ends everything still running and removes the directory. */
  async close(): Promise<void> {
    const left = [...this.running];
    await Promise.all(
      left.map(
        (child) =>
          new Promise((done) => {
            child.on("close", done);
            child.kill("SIGKILL");
          }),
      ),
    );
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** How to start a command. */
export interface StartOptions {
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly input?: Uint8Array | string;
  /** Killed after this long: a hang is a failure, not a wait. */
  readonly limitMs?: number;
  readonly nodeArguments?: readonly string[];
  /** What Node runs; the bundle when not given. */
  readonly main?: string;
  /** Runs as another user; only root can. */
  readonly uid?: number;
  readonly gid?: number;
}
