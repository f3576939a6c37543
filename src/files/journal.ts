/**
 * The journal of a receiving job: which chunks are verified and flushed, and which files were about to
 * get their final name. Append-only; every record carries a checksum that also covers all records
 * before it, so that what is read back is a prefix of what was written, or nothing.
 *
 * Layout: `godwitJ` and a version byte, then records: type (8 bits), length of the payload (32 bits),
 * payload, 16 bytes of H(checksum before | type | length | payload). docs/spec/files.md §5.
 */
import { ByteReader, ByteWriter, equalBytes, readUint32, toHex } from "../base/bytes.ts";
import { DecodeError } from "../base/errors.ts";
import { CHUNK_BYTES, HASHES_PER_MESSAGE, MANIFEST_ENTRIES } from "../base/limits.ts";
import { RangeSet } from "../base/range-set.ts";
import { decodeUtf8, encodeUtf8 } from "../base/utf8.ts";
import type { DiskSequence, EntryFacts, FileHandle } from "./disk.ts";
import { ask } from "./disk.ts";
import type { Hash } from "./hash-tree.ts";
import { chunkCount, chunkLength, HASH_BYTES, HashForest } from "./hash-tree.ts";

/** Version of the layout. A journal of another version is not used: its files are fetched again. */
export const JOURNAL_VERSION = 1;

const MAGIC = encodeUtf8("godwitJ");
const PREFIX_BYTES = MAGIC.length + 1;
const CHECKSUM_BYTES = 16;
const RECORD_HEAD_BYTES = 5;

/** Longest payload: the hashes of 1 024 chunks and what names them, with room. */
const PAYLOAD_BYTES = HASHES_PER_MESSAGE * HASH_BYTES + 256;

/** Bytes read at once. */
const PAGE_BYTES = 256 * 1024;

/** Longest name of an identity on disk. */
const IDENTITY_BYTES = 128;

const RECORD_JOB = 1;
const RECORD_FILE = 2;
const RECORD_CHUNKS = 3;
const RECORD_CLEAN = 4;
const RECORD_INTENT = 5;
const RECORD_FORGET = 6;

/** Which version of which file a record is about. */
export interface FileBinding {
  /** 16 bytes for the path. */
  readonly key: Uint8Array;
  /** 16 bytes for the version of the source. */
  readonly token: Uint8Array;
  readonly sizeBytes: number;
}

/** State of a partly received file, as the journal tells it. */
export interface JournaledFile extends FileBinding {
  /** Number of the file within the journal. */
  readonly index: number;
  /** The staging file. */
  readonly identity: string;
  readonly have: RangeSet;
  readonly forest: HashForest;
  /** What the staging file looked like when it was left in order; `undefined` after a crash. */
  clean:
    | { readonly sizeBytes: number; readonly modifiedAtUs: number; readonly changedAtUs: number }
    | undefined;
}

/** A file that was about to get its final name. */
export interface JournaledIntent extends FileBinding {
  readonly root: Uint8Array;
  /** The file that has, or would have got, the name. */
  readonly identity: string;
}

/** Chunks of one record. */
export interface JournaledChunks {
  readonly fileIndex: number;
  readonly firstChunk: number;
  readonly hashes: readonly Uint8Array[];
}

/** What a journal says. */
export interface JournalContents {
  /** Partly received files by the hexadecimal form of their key. */
  readonly files: Map<string, JournaledFile>;
  /** Files about to be published by the hexadecimal form of their key. */
  readonly intents: Map<string, JournaledIntent>;
  /** Bytes of the valid prefix; a writer continues there. */
  validBytes: number;
  /** Checksum of the last valid record. */
  checksum: Uint8Array;
  /** Files numbered so far. */
  fileCount: number;
  /** Why the journal, or its end, is not used; `undefined` if all of it is valid. */
  damage: string | undefined;
}

/** A journal without records. */
export function emptyJournal(hash: Hash): JournalContents {
  return {
    files: new Map(),
    intents: new Map(),
    validBytes: 0,
    checksum: hash(MAGIC).slice(0, CHECKSUM_BYTES),
    fileCount: 0,
    damage: undefined,
  };
}

// Writing

/** Appends records to a buffer, in the order of the file. */
export class JournalEncoder {
  private readonly hash: Hash;
  private checksum: Uint8Array;
  private fileCount: number;
  private writer = new ByteWriter();
  private readonly indexes = new Map<string, number>();

  /** Continues behind `contents`; for an empty one, with the head of a new journal for `job`. */
  constructor(hash: Hash, contents: JournalContents, job: string) {
    this.hash = hash;
    this.checksum = contents.checksum;
    this.fileCount = contents.fileCount;
    for (const [key, { index }] of contents.files) this.indexes.set(key, index);
    if (contents.validBytes === 0) {
      this.writer.raw(MAGIC).uint8(JOURNAL_VERSION);
      this.record(RECORD_JOB, encodeUtf8(job));
    }
  }

  /** Bytes waiting. */
  get sizeBytes(): number {
    return this.writer.size;
  }

  /** Hands out the bytes to append. */
  take(): Uint8Array {
    const bytes = this.writer.finish();
    this.writer = new ByteWriter();
    return bytes;
  }

  /** Begins (again) the record of a file. Chunks refer to the last one of its key. */
  addFile(file: FileBinding, identity: string): void {
    const payload = new ByteWriter();
    payload.raw(file.key).raw(file.token).varint(file.sizeBytes).lengthPrefixed(encodeUtf8(identity));
    this.indexes.set(toHex(file.key), this.fileCount++);
    this.record(RECORD_FILE, payload.finish());
  }

  /** Whether a file was begun. */
  hasFile(key: Uint8Array): boolean {
    return this.indexes.has(toHex(key));
  }

  /** Verified and flushed chunks, in ascending order. Only after `addFile`. */
  addChunks(
    key: Uint8Array,
    chunks: readonly { readonly index: number; readonly contentHash: Uint8Array }[],
  ): void {
    const file = this.indexes.get(toHex(key)) ?? 0;
    for (let from = 0; from < chunks.length;) {
      let to = from + 1;
      while (
        to < chunks.length &&
        to - from < HASHES_PER_MESSAGE &&
        chunks[to].index === chunks[from].index + to - from
      )
        to++;
      const payload = new ByteWriter(HASH_BYTES * (to - from) + 16);
      payload
        .varint(file)
        .varint(chunks[from].index)
        .varint(to - from);
      for (let i = from; i < to; i++) payload.raw(chunks[i].contentHash);
      this.record(RECORD_CHUNKS, payload.finish());
      from = to;
    }
  }

  /** The staging file is left in order and looks like `facts`: no chunk needs to be looked at again. */
  addClean(key: Uint8Array, facts: EntryFacts): void {
    const payload = new ByteWriter();
    payload.varint(this.indexes.get(toHex(key)) ?? 0).varint(facts.sizeBytes);
    payload.varint(Math.max(0, facts.modifiedAtUs)).varint(Math.max(0, facts.changedAtUs));
    this.record(RECORD_CLEAN, payload.finish());
  }

  /** The file is verified and about to get its final name. */
  addIntent(file: FileBinding, root: Uint8Array, identity: string): void {
    const payload = new ByteWriter();
    payload.raw(file.key).raw(file.token).varint(file.sizeBytes).raw(root);
    payload.lengthPrefixed(encodeUtf8(identity));
    this.record(RECORD_INTENT, payload.finish());
  }

  /** What was said about the file is void. */
  addForget(key: Uint8Array): void {
    this.indexes.delete(toHex(key));
    this.record(RECORD_FORGET, key);
  }

  private record(type: number, payload: Uint8Array): void {
    const head = new ByteWriter(RECORD_HEAD_BYTES + payload.length);
    const body = head.uint8(type).uint32(payload.length).raw(payload).finish();
    this.checksum = chain(this.hash, this.checksum, body);
    this.writer.raw(body).raw(this.checksum);
  }
}

function chain(hash: Hash, before: Uint8Array, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(before.length + body.length);
  bytes.set(before);
  bytes.set(body, before.length);
  return hash(bytes).slice(0, CHECKSUM_BYTES);
}

// Reading

/**
 * Takes a journal in pieces and collects what it says. Stops at the first byte that is not as it was
 * written; everything before that is valid.
 */
export class JournalDecoder {
  readonly contents: JournalContents;
  private readonly hash: Hash;
  private readonly job: string;
  private readonly onChunks: ((chunks: JournaledChunks) => void) | undefined;
  private pending = new Uint8Array(0);
  private readonly byIndex = new Map<number, JournaledFile>();
  private hasPrefix = false;
  private hasJob = false;

  /** @param onChunks - Told of every record of chunks, for a second reading. */
  constructor(hash: Hash, job: string, onChunks?: (chunks: JournaledChunks) => void) {
    this.hash = hash;
    this.job = job;
    this.onChunks = onChunks;
    this.contents = emptyJournal(hash);
  }

  /** Whether reading on is of no use. */
  get hasStopped(): boolean {
    return this.contents.damage !== undefined;
  }

  /** Takes the next bytes of the file. */
  handleBytes(bytes: Uint8Array): void {
    const { contents } = this;
    const buffer = new Uint8Array(this.pending.length + bytes.length);
    buffer.set(this.pending);
    buffer.set(bytes, this.pending.length);
    let at = 0;
    while (contents.damage === undefined) {
      const next = this.hasPrefix ? this.readRecord(buffer, at) : this.readPrefix(buffer, at);
      if (next === undefined) break;
      contents.validBytes += next - at;
      at = next;
    }
    this.pending = buffer.slice(at);
  }

  /** The file has ended: an incomplete record at the end is damage. */
  finish(): JournalContents {
    const { contents } = this;
    if (contents.damage === undefined && (this.pending.length > 0 || this.hasPrefix !== this.hasJob))
      contents.damage = "cut off in a record";
    if (!this.hasJob) contents.validBytes = 0;
    return contents;
  }

  private readPrefix(buffer: Uint8Array, at: number): number | undefined {
    if (buffer.length < PREFIX_BYTES) return undefined;
    if (!equalBytes(buffer.subarray(0, MAGIC.length), MAGIC)) this.contents.damage = "not a journal";
    else if (buffer[MAGIC.length] !== JOURNAL_VERSION)
      this.contents.damage = `written by another version (${buffer[MAGIC.length]})`;
    if (this.contents.damage !== undefined) return undefined;
    this.hasPrefix = true;
    return at + PREFIX_BYTES;
  }

  private readRecord(buffer: Uint8Array, at: number): number | undefined {
    if (buffer.length - at < RECORD_HEAD_BYTES) return undefined;
    const length = readUint32(buffer, at + 1);
    if (length > PAYLOAD_BYTES) {
      this.contents.damage = "a record that is too long";
      return undefined;
    }
    const bodyEnd = at + RECORD_HEAD_BYTES + length;
    if (buffer.length < bodyEnd + CHECKSUM_BYTES) return undefined;
    const checksum = chain(this.hash, this.contents.checksum, buffer.subarray(at, bodyEnd));
    if (!equalBytes(checksum, buffer.subarray(bodyEnd, bodyEnd + CHECKSUM_BYTES))) {
      this.contents.damage = "a record that was altered";
      return undefined;
    }
    try {
      this.apply(buffer[at], new ByteReader(buffer, at + RECORD_HEAD_BYTES, bodyEnd));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.contents.damage = error.message;
      return undefined;
    }
    this.contents.checksum = checksum;
    return bodyEnd + CHECKSUM_BYTES;
  }

  private apply(type: number, reader: ByteReader): void {
    if (this.hasJob === (type === RECORD_JOB)) throw new DecodeError("records in a wrong order", 0);
    switch (type) {
      case RECORD_JOB:
        if (decodeUtf8(reader.view(reader.remaining)) !== this.job)
          throw new DecodeError("of another job", 0);
        this.hasJob = true;
        break;
      case RECORD_FILE:
        this.applyFile(reader);
        break;
      case RECORD_CHUNKS:
        this.applyChunks(reader);
        break;
      case RECORD_CLEAN: {
        const file = this.byIndex.get(reader.varint());
        const clean = {
          sizeBytes: reader.varint(),
          modifiedAtUs: reader.varint(),
          changedAtUs: reader.varint(),
        };
        if (file !== undefined) file.clean = clean;
        break;
      }
      case RECORD_INTENT: {
        const intent: JournaledIntent = {
          key: reader.copy(16),
          token: reader.copy(16),
          sizeBytes: reader.varint(),
          root: reader.copy(HASH_BYTES),
          identity: decodeUtf8(reader.lengthPrefixed(IDENTITY_BYTES)) ?? "",
        };
        if (this.contents.intents.size >= MANIFEST_ENTRIES) throw new DecodeError("too many files", 0);
        this.contents.intents.set(toHex(intent.key), intent);
        break;
      }
      case RECORD_FORGET: {
        const key = toHex(reader.copy(16));
        this.contents.files.delete(key);
        this.contents.intents.delete(key);
        break;
      }
      default:
        throw new DecodeError(`an unknown record ${type}`, 0);
    }
    reader.finish();
  }

  private applyFile(reader: ByteReader): void {
    const { contents } = this;
    const file: JournaledFile = {
      key: reader.copy(16),
      token: reader.copy(16),
      sizeBytes: reader.varint(),
      identity: decodeUtf8(reader.lengthPrefixed(IDENTITY_BYTES)) ?? "",
      index: contents.fileCount++,
      have: new RangeSet(),
      forest: new HashForest(this.hash),
      clean: undefined,
    };
    if (contents.files.size >= MANIFEST_ENTRIES) throw new DecodeError("too many files", 0);
    contents.files.set(toHex(file.key), file);
    this.byIndex.set(file.index, file);
  }

  private applyChunks(reader: ByteReader): void {
    const fileIndex = reader.varint();
    const firstChunk = reader.varint();
    const count = reader.varint();
    const file = this.byIndex.get(fileIndex);
    if (file === undefined) throw new DecodeError("chunks of an unknown file", reader.at);
    if (count > HASHES_PER_MESSAGE || firstChunk + count > chunkCount(file.sizeBytes))
      throw new DecodeError("chunks beyond the end of the file", reader.at);
    const hashes: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const index = firstChunk + i;
      const contentHash = reader.copy(HASH_BYTES);
      hashes.push(contentHash);
      if (file.have.add(index, index + 1) > 0)
        file.forest.addChunk(index, chunkLength(file.sizeBytes, index), contentHash);
    }
    // Written after the file was last left in order: that word is out of date.
    file.clean = undefined;
    this.onChunks?.({ fileIndex, firstChunk, hashes });
  }
}

/**
 * Reads a journal from an open file, page by page; or the error of a disk that did not give it all: what it
 * did not give may be valid, and must not be cut off.
 */
export function* readJournal(
  file: FileHandle,
  decoder: JournalDecoder,
): DiskSequence<JournalContents | { readonly errno: string }> {
  const page = new Uint8Array(PAGE_BYTES);
  let offset = 0;
  while (!decoder.hasStopped) {
    const read = yield* ask({ kind: "read", file, offset, target: page });
    if (!read.ok) return { errno: read.errno };
    if (read.lengthBytes === 0) break;
    decoder.handleBytes(page.subarray(0, read.lengthBytes));
    offset += read.lengthBytes;
  }
  return decoder.finish();
}

/**
 * Looks again at the chunks of a staging file that was not left in order, and returns those that no longer match
 * their hash in the journal. Reads the journal a second time: nothing has to be kept in memory.
 */
export function* findDamagedChunks(
  journal: FileHandle,
  validBytes: number,
  decoder: JournalDecoder,
  chunksOf: () => JournaledChunks[],
  fileIndex: number,
  staging: FileHandle,
  sizeBytes: number,
  hash: Hash,
): DiskSequence<{ readonly index: number; readonly contentHash: Uint8Array }[]> {
  const damaged: { readonly index: number; readonly contentHash: Uint8Array }[] = [];
  const page = new Uint8Array(PAGE_BYTES);
  const chunk = new Uint8Array(Math.min(CHUNK_BYTES, Math.max(1, sizeBytes)));
  let offset = 0;
  while (offset < validBytes && !decoder.hasStopped) {
    const target = page.subarray(0, Math.min(PAGE_BYTES, validBytes - offset));
    const read = yield* ask({ kind: "read", file: journal, offset, target });
    if (!read.ok || read.lengthBytes === 0) break;
    decoder.handleBytes(target.subarray(0, read.lengthBytes));
    offset += read.lengthBytes;
    for (const record of chunksOf()) {
      if (record.fileIndex !== fileIndex) continue;
      for (let i = 0; i < record.hashes.length; i++) {
        const index = record.firstChunk + i;
        const part = chunk.subarray(0, chunkLength(sizeBytes, index));
        const isRead = yield* readFully(staging, index * CHUNK_BYTES, part);
        if (!isRead || !equalBytes(hash(part), record.hashes[i]))
          damaged.push({ index, contentHash: record.hashes[i] });
      }
    }
  }
  return damaged;
}

function* readFully(file: FileHandle, offset: number, target: Uint8Array): DiskSequence<boolean> {
  let at = 0;
  while (at < target.length) {
    const read = yield* ask({ kind: "read", file, offset: offset + at, target: target.subarray(at) });
    if (!read.ok || read.lengthBytes === 0) return false;
    at += read.lengthBytes;
  }
  return true;
}
