/** Runs the built command line as a user would, with its own home directory, and cleans up after itself. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** The built entry point. */
export const MAIN: string = resolve(import.meta.dirname, "../../dist/cli/main.js");

/** How a command ended and what it said. */
export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** A JSON line of a command. */
export type JsonEvent = Record<string, unknown> & { readonly event: string };

/** A command that is running. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Standard error so far. */
  stderr(): string;
  /** The first JSON line on standard output, past or future, with this event name. */
  event(name: string): Promise<JsonEvent>;
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
    const child = spawn(process.execPath, [...(options.nodeArguments ?? []), MAIN, ...args], {
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
    const events: JsonEvent[] = [];
    const waiting: { name: string; resolve: (event: JsonEvent) => void; reject: (error: Error) => void }[] =
      [];
    child.stdout?.on("data", (bytes: Buffer) => {
      out.push(bytes);
      if (!args.includes("--json")) return;
      lines += bytes.toString("utf8");
      for (let end = lines.indexOf("\n"); end >= 0; end = lines.indexOf("\n")) {
        const event = JSON.parse(lines.slice(0, end)) as JsonEvent;
        lines = lines.slice(end + 1);
        events.push(event);
        for (const wait of waiting.filter(({ name }) => name === event.event)) wait.resolve(event);
      }
    });
    child.stderr?.on("data", (bytes: Buffer) => {
      stderr += bytes.toString("utf8");
    });
    const limit = setTimeout(() => child.kill("SIGKILL"), options.limitMs ?? 50_000);
    const ended = new Promise<Ended>((done) => {
      child.on("close", (status, signal) => {
        clearTimeout(limit);
        this.running.delete(child);
        const last = `ended with ${String(status ?? signal)}: ${stderr}`;
        for (const { name, reject } of waiting)
          reject(new Error(`no ${name} event, godwit ${args[0]} ${last}`));
        done({ status, signal, stdout: Buffer.concat(out), stderr });
      });
    });
    return {
      child,
      ended,
      stderr: () => stderr,
      event: (name) => {
        const past = events.find((event) => event.event === name);
        if (past !== undefined) return Promise.resolve(past);
        if (child.exitCode !== null) return Promise.reject(new Error(`no ${name} event: ${stderr}`));
        return new Promise((done, reject) => waiting.push({ name, resolve: done, reject }));
      },
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
  /** Runs as another user; only root can. */
  readonly uid?: number;
  readonly gid?: number;
}
