/**
 * What happens to an offered entry before any data: its name is checked and taken, its directory made,
 * what is at its place looked at, and what an earlier run left of it found. Directories, links and
 * files that need nothing have their answer here; files that want data go on to the receiver.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import { GodwitError } from "../base/errors.ts";
import { SUBTREES_PER_ACCEPT } from "../base/limits.ts";
import type { EventQueue } from "../events/queue.ts";
import type { ChunkPool } from "../files/chunk-pool.ts";
import type { EntryFacts, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { SafePath } from "../files/safe-path.ts";
import { isSafeLinkTarget, parseSafePath } from "../files/safe-path.ts";
import type { EntryFilter } from "../files/scan.ts";
import { pathKey, stagingPath } from "../files/staging-name.ts";
import type { DirectoryNode, DirectoryTree } from "./directory-tree.ts";
import type { EntryVerdicts } from "./entry-verdicts.ts";
import { IncomingFile } from "./incoming-file.ts";
import type { JobJournal } from "./job-journal.ts";
import type { EntryMessage } from "./entry-message.ts";
import type { TransferOptions } from "./transfer-options.ts";
import { NO_HASH } from "./messages.ts";
import type { Publisher } from "./publisher.ts";
import type { FileDecision } from "./receive-policy.ts";
import { clampTime, decideFile } from "./receive-policy.ts";
import { findEarlierState } from "./resume.ts";

/** Entries being looked at on the disk at once. */
const PREPARING_AT_ONCE = 32;

interface Offered {
  readonly entry: EntryMessage;
  readonly path: SafePath;
}

/** What preparation needs of its receiver. */
export interface PreparationSetup {
  readonly hash: Hash;
  readonly runner: DiskRunner;
  readonly events: EventQueue;
  readonly root: RootHandle;
  readonly destination: SafePath | undefined;
  readonly options: TransferOptions;
  readonly umask: number;
  readonly job: string;
  readonly isRequested?: EntryFilter | undefined;
  readonly pool: ChunkPool;
  readonly directories: DirectoryTree;
  readonly publisher: Publisher;
  readonly verdicts: EntryVerdicts;
  /** Takes a file that wants data. */
  readonly onFile: (file: IncomingFile) => void;
  /** Something ended: others may go on. */
  readonly onProgress: () => void;
}

/** Prepares the entries of one transfer. */
export class EntryPreparation {
  private readonly setup: PreparationSetup;
  /** What an earlier run left; set once the job is open. */
  journal: JobJournal | undefined;
  private readonly waiting: Offered[] = [];
  private waitingHead = 0;
  private preparing = 0;

  constructor(setup: PreparationSetup) {
    this.setup = setup;
  }

  /** Whether entries were added that have neither an answer nor became files. */
  get isBusy(): boolean {
    return this.preparing > 0 || this.waiting.length > 0;
  }

  /** Takes an offered entry, or refuses it for its name. @throws GodwitError PROTOCOL_VIOLATION */
  add(entry: EntryMessage): void {
    try {
      this.waiting.push({ entry, path: this.safePath(entry) });
    } catch (error) {
      if (!(error instanceof GodwitError) || error.code === "PROTOCOL_VIOLATION") throw error;
      this.setup.verdicts.refuse(entry, error.code, error.message);
    }
  }

  /** Starts what can be started. */
  pump(): void {
    while (this.waitingHead < this.waiting.length && this.preparing < PREPARING_AT_ONCE) {
      const offered = this.waiting[this.waitingHead++];
      if (this.waitingHead === this.waiting.length) {
        this.waiting.length = 0;
        this.waitingHead = 0;
      }
      this.prepare(offered);
    }
  }

  private safePath(entry: EntryMessage): SafePath {
    const { destination, isRequested, options } = this.setup;
    const relative = parseSafePath(entry.path);
    if (isRequested?.(relative.components, entry.kind === "directory") === false)
      throw new GodwitError(
        "PROTOCOL_VIOLATION",
        "the sender broke the protocol: an entry that was not asked for",
      );
    const path = destination === undefined ? relative : parseSafePath(`${destination.text}/${relative.text}`);
    if (entry.kind === "symlink" && !options.links)
      throw new GodwitError(
        "DECLINED",
        `refused the link ${printable(entry.path)}: links were not asked for`,
      );
    if (entry.kind === "symlink" && !isSafeLinkTarget(relative, entry.target))
      throw new GodwitError(
        "UNSAFE_NAME",
        `refused the link ${printable(entry.path)}: it points out of the tree, to ${printable(entry.target)}`,
      );
    return path;
  }

  private prepare({ entry, path }: Offered): void {
    const isDirectory = entry.kind === "directory";
    try {
      this.setup.directories.claim(path, entry.kind);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.setup.verdicts.refuse(entry, error.code, error.message);
      return;
    }
    if (this.setup.options.dryRun) {
      this.plan(entry, path);
      return;
    }
    this.preparing++;
    const parent = isDirectory ? path.components : path.components.slice(0, -1);
    this.setup.directories.ensure(parent, (node) => {
      if (node.state === "failed") {
        this.preparing--;
        this.keepEarlierState(path);
        this.setup.verdicts.refuseDisk(entry, node.errno);
      } else if (isDirectory) {
        this.preparing--;
        this.acceptDirectory(entry, node);
      } else if (entry.kind === "symlink") this.prepareLink(entry, path, node);
      else this.prepareFile(entry, path, node);
      this.setup.onProgress();
    });
  }

  /** A dry run: says what would be done. */
  private plan(entry: EntryMessage, path: SafePath): void {
    const { runner, root, events, options } = this.setup;
    this.preparing++;
    runner.start(ask({ kind: "lstat", root, path: path.components }), (looked) => {
      this.preparing--;
      const decision: FileDecision =
        entry.kind === "file"
          ? decideFile(entry, looked.ok ? looked.facts : undefined, options)
          : { type: "take", replaces: false };
      if (decision.type === "refuse") this.setup.verdicts.refuse(entry, decision.code, decision.text);
      else if (decision.type !== "take") this.setup.verdicts.answerUnchanged(entry);
      else {
        this.setup.verdicts.tally.plannedEntries++;
        const { sizeBytes } = entry;
        if (entry.kind === "file")
          events.add({ type: "file-planned", path: entry.path, sizeBytes, replaces: decision.replaces });
        const state = decision.replaces ? "replacing" : "planned";
        this.setup.verdicts.answer({ type: "committed", object: entry.object, state, root: NO_HASH });
      }
      this.setup.onProgress();
    });
  }

  private acceptDirectory(entry: EntryMessage, node: DirectoryNode): void {
    if (node.isMade) {
      // At least 0700, so that what is in it can be reached and replaced later.
      node.mode = (entry.mode & 0o777 & ~this.setup.umask) | 0o700;
      node.modifiedAtUs = clampTime(entry.modifiedAtUs);
    }
    this.confirmEntry(entry, node.parent ?? node, () => this.setup.verdicts.tally.directories++);
  }

  private prepareLink(entry: EntryMessage, path: SafePath, node: DirectoryNode): void {
    const { runner, root } = this.setup;
    const { target } = entry;
    runner.start(ask({ kind: "make-symlink", root, path: path.components, target }), (made) => {
      if (made.ok) node.isDirty = true;
      if (made.ok || made.errno !== "EEXIST") {
        this.preparing--;
        if (made.ok) this.confirmEntry(entry, node, () => this.setup.verdicts.tally.links++);
        else this.setup.verdicts.refuseDisk(entry, made.errno);
        this.setup.onProgress();
        return;
      }
      // The same link is there already: nothing to do, whatever the options.
      runner.start(ask({ kind: "read-link", root, path: path.components }), (link) => {
        this.preparing--;
        if (link.ok && link.target === target)
          this.confirmEntry(entry, node, () => this.setup.verdicts.tally.links++);
        else this.setup.verdicts.refuseDisk(entry, "EEXIST");
        this.setup.onProgress();
      });
    });
  }

  /** Confirms an entry without contents once its name is durable. */
  private confirmEntry(entry: EntryMessage, directory: DirectoryNode, count: () => void): void {
    const { tally } = this.setup.verdicts;
    this.whenDurable(entry, directory, () => {
      count();
      tally.durable?.add(entry, 0, NO_HASH);
      this.setup.verdicts.answer({
        type: "committed",
        object: entry.object,
        state: "committed",
        root: NO_HASH,
      });
    });
  }

  /** Calls `confirm` once the names made so far in a directory are durable, whoever made them. */
  private whenDurable(entry: EntryMessage, directory: DirectoryNode, confirm: () => void): void {
    this.setup.publisher.add(directory, undefined, (errno) => {
      if (errno === undefined) confirm();
      else this.setup.verdicts.refuseDisk(entry, errno);
      this.setup.onProgress();
    });
  }

  private prepareFile(entry: EntryMessage, path: SafePath, node: DirectoryNode): void {
    const { runner, root } = this.setup;
    runner.start(ask({ kind: "lstat", root, path: path.components }), (looked) => {
      if (!looked.ok && looked.errno !== "ENOENT") {
        this.preparing--;
        this.keepEarlierState(path);
        this.setup.verdicts.refuseDisk(entry, looked.errno);
      } else this.decide(entry, path, node, looked.ok ? looked.facts : undefined);
      this.setup.onProgress();
    });
  }

  /** What an earlier run left of a file that cannot be looked at now is for a later run. */
  private keepEarlierState(path: SafePath): void {
    this.journal?.keepIfKnown(pathKey(this.setup.hash, path.text));
  }

  private decide(
    entry: EntryMessage,
    path: SafePath,
    node: DirectoryNode,
    existing: EntryFacts | undefined,
  ): void {
    const { hash, pool, job, options, root, runner, events } = this.setup;
    const key = pathKey(hash, path.text);
    const intent = this.journal?.contents.intents.get(toHex(key));
    const file = new IncomingFile(hash, pool, entry, path, key, stagingPath(job, path.components, key));
    if (
      intent !== undefined &&
      existing?.kind === "file" &&
      existing.identity === intent.identity &&
      existing.sizeBytes === intent.sizeBytes &&
      equalBytes(intent.token, entry.token)
    ) {
      // An earlier run gave it its name and broke off before it could say so.
      this.preparing--;
      this.confirmEarlier(file, node, intent.root);
      return;
    }
    const decision = decideFile(entry, existing, options);
    if (decision.type === "compare") {
      this.preparing--;
      file.directory = node;
      file.comparison = "running";
      file.refusal = decision.text;
      this.setup.onFile(file);
      return;
    }
    if (decision.type !== "take") {
      this.preparing--;
      if (decision.type === "refuse") this.setup.verdicts.refuse(entry, decision.code, decision.text);
      else this.confirmUnchanged(entry, node);
      return;
    }
    file.directory = node;
    file.replaces = decision.replaces;
    file.mayReplace = options.overwrite || options.update;
    file.isSparse = options.sparse && entry.sizeBytes !== undefined;
    const journaled = this.journal?.contents.files.get(toHex(key));
    if (
      options.update &&
      options.checksum &&
      existing !== undefined &&
      existing.sizeBytes === entry.sizeBytes
    )
      file.comparison = "running";
    if (journaled === undefined || file.comparison === "running") {
      this.preparing--;
      this.setup.onFile(file);
      return;
    }
    runner.start(findEarlierState(root, file, journaled), (state) => {
      this.preparing--;
      if (typeof state === "string") {
        this.journal?.addForget(key);
        events.add({ type: "file-restarted", path: entry.path, reason: state });
      } else this.resumeFile(file, state.isClean);
      this.setup.onFile(file);
      this.setup.onProgress();
    });
  }

  private resumeFile(file: IncomingFile, isClean: boolean): void {
    const journaled = this.journal?.contents.files.get(toHex(file.key));
    if (journaled === undefined || journaled.forest.subtreeCount > SUBTREES_PER_ACCEPT) return;
    file.resume(journaled);
    file.needsLook = !isClean;
    file.isStaged = true;
    this.setup.verdicts.tally.resumedBytes += file.haveBytes;
    this.setup.events.add({
      type: "transfer-resumed",
      path: file.entry.path,
      haveBytes: file.haveBytes,
      totalBytes: file.sizeBytes ?? 0,
      isWhole: file.isWhole,
    });
  }

  private confirmEarlier(file: IncomingFile, node: DirectoryNode, root: Uint8Array): void {
    const sizeBytes = file.sizeBytes ?? 0;
    this.setup.verdicts.tally.resumedBytes += sizeBytes;
    const { path } = file.entry;
    this.setup.events.add({
      type: "transfer-resumed",
      path,
      haveBytes: sizeBytes,
      totalBytes: sizeBytes,
      isWhole: true,
    });
    this.whenDurable(file.entry, node, () => this.setup.verdicts.commit(file, root));
  }

  /** The file is there already: it counts once its name is durable, whoever made it. */
  confirmUnchanged(entry: EntryMessage, node: DirectoryNode): void {
    this.whenDurable(entry, node, () => this.setup.verdicts.answerUnchanged(entry));
  }
}
