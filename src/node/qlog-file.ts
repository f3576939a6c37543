/** Writes the qlog of connections: a file each in one directory, never at the expense of a transfer. */
import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { GodwitError } from "../base/errors.ts";
import { QLOG_PENDING_CHARACTERS } from "../base/limits.ts";
import type { GodwitEvent } from "../events/event.ts";
import { QlogFormatter, qlogHeader, qlogWarning } from "../events/qlog.ts";
import type { Connection } from "../transport/connection.ts";
import { monotonicNowUs, wallNowUs } from "./clock.ts";
import type { EventHandler } from "./host.ts";
import { makeDirectories } from "./make-directories.ts";

/** Bytes of the handshake hash that name a connection: the same name on both sides. */
const NAME_BYTES = 8;

/** Events that exist only because a log wants them. */
const PACKET_EVENTS: ReadonlySet<GodwitEvent["type"]> = new Set([
  "packet-sent",
  "packet-received",
  "packet-dropped",
  "packet-lost",
  "loss-was-spurious",
  "ack-received",
]);

/** A directory for logs. */
export class QlogDirectory {
  private readonly directory: string;
  private readonly agent: string;
  private readonly notify: (reason: string) => void;
  private hasNotified = false;

  /**
   * @param notify - Told once, why logs are not complete.
   * @throws GodwitError CONFIGURATION when the directory cannot be made.
   */
  constructor(directory: string, agent: string, notify: (reason: string) => void) {
    this.directory = directory;
    this.agent = agent;
    this.notify = notify;
    try {
      makeDirectories(directory);
    } catch (cause) {
      throw new GodwitError(
        "CONFIGURATION",
        `the qlog directory ${directory} cannot be made; name another one`,
        { path: directory, cause },
      );
    }
  }

  /** Logs a connection; what comes out is to be given its events. */
  follow(connection: Connection, role: "client" | "server", onEvent: EventHandler): EventHandler {
    const log = new QlogFile(connection, role, this.agent, this.directory, (reason) => {
      if (this.hasNotified) return;
      this.hasNotified = true;
      this.notify(reason);
    });
    connection.setPacketEvents(true);
    return (event) => {
      log.handle(event);
      // Readers hold few events: those of packets, made for the log alone, would push out the rest.
      if (!PACKET_EVENTS.has(event.type)) onEvent(event);
    };
  }
}

/** The log of one connection. Records wait in memory while the disk is busy, up to a limit. */
class QlogFile {
  private readonly connection: Connection;
  private readonly role: "client" | "server";
  private readonly agent: string;
  private readonly directory: string;
  private readonly formatter: QlogFormatter;
  private readonly fail: (reason: string) => void;
  private readonly epochMs = wallNowUs() / 1_000;
  private readonly startedUs = monotonicNowUs();
  private pending = "";
  private skippedEvents = 0;
  private isWriting = false;
  private isEnded = false;
  private isBroken = false;
  private file: FileHandle | undefined;

  constructor(
    connection: Connection,
    role: "client" | "server",
    agent: string,
    directory: string,
    fail: (reason: string) => void,
  ) {
    this.connection = connection;
    this.role = role;
    this.agent = agent;
    this.directory = directory;
    this.formatter = new QlogFormatter(role);
    this.fail = fail;
  }

  handle(event: GodwitEvent): void {
    if (this.isEnded || this.isBroken) return;
    const timeMs = this.epochMs + (monotonicNowUs() - this.startedUs) / 1_000;
    if (event.type === "connection-closed") this.isEnded = true;
    // The end of a connection is always told.
    if (this.pending.length >= QLOG_PENDING_CHARACTERS && !this.isEnded) {
      this.skippedEvents++;
      return;
    }
    if (this.skippedEvents > 0) {
      this.pending += qlogWarning(`${this.skippedEvents} events are missing: the disk was too slow`, timeMs);
      this.skippedEvents = 0;
    }
    this.pending += this.formatter.records(event, timeMs);
    if (this.isEnded) this.pending += this.formatter.flush();
    // Before the handshake is complete the file has no name yet.
    const hasName = this.connection.handshakeHash !== undefined;
    if (!this.isWriting && (hasName || this.isEnded)) {
      this.isWriting = true;
      // What the same turn still brings goes into the same write.
      setImmediate(() => void this.write());
    }
  }

  private async write(): Promise<void> {
    try {
      this.file ??= await this.create();
      while (this.pending !== "") {
        const text = this.pending;
        this.pending = "";
        await this.file.appendFile(text);
      }
      this.isWriting = false;
      if (this.isEnded) await this.file.close();
    } catch (error) {
      this.isBroken = true;
      this.pending = "";
      this.connection.setPacketEvents(false);
      this.fail(error instanceof Error ? error.message : String(error));
      await this.file?.close().catch(() => undefined);
    }
  }

  private async create(): Promise<FileHandle> {
    const id = this.connection.handshakeHash?.slice(0, NAME_BYTES);
    const connectionId = id === undefined ? "unanswered" : Buffer.from(id).toString("hex");
    const time = new Date(this.epochMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
    const name = `${time}-${connectionId}_${this.role}`;
    this.pending = qlogHeader({ role: this.role, agent: this.agent, connectionId }) + this.pending;
    for (let copy = 1; ; copy++) {
      const path = join(this.directory, copy === 1 ? `${name}.sqlog` : `${name}-${copy}.sqlog`);
      try {
        return await open(path, "ax");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST" || copy === NAMES_TRIED) throw error;
      }
    }
  }
}

/** Names tried for a log when there is one of the same second and connection. */
const NAMES_TRIED = 100;
