/**
 * The four editions of the chunks system (autumn 2021 and 2022, spring 2023 and 2024): same idea,
 * different separators, sequence numbers, buffer sizes and timers. docs/classic/chunks.md#editions
 */

/** Name of an edition, as `--edition` takes it. */
export type EditionName = "f21" | "f22" | "s23" | "s24";

/** What differs between editions. */
export interface ChunksEdition {
  readonly name: EditionName;
  /** Between the fields of a message. */
  readonly separator: "|" | " | ";
  /** Whether a server also understands, and then answers in, the form with spaces (some programs of f21). */
  readonly allowsSpaces: boolean;
  /** Whether data is numbered by one alternating bit instead of ascending numbers. */
  readonly alternates: boolean;
  /** Whether the server's answer to a start names its buffer size; otherwise the size is fixed. */
  readonly announcesBuffer: boolean;
  /** Whether the third field of a start is a file extension and the server makes up the name. */
  readonly namesByExtension: boolean;
  /** Whether a full server answers `n|1`; otherwise it stays silent. */
  readonly refusesAloud: boolean;
  /** Bytes of the largest datagram: what a server announces, or the fixed size. */
  readonly bufferBytes: number;
  /** Client: silence after which a message is sent again. */
  readonly retryUs: number;
  /**
   * Client: sends of one message before giving up. The spring editions never give up; a minute
   * without an answer is godwit's own limit.
   */
  readonly attempts: number;
  /** Server: silence after which an unfinished session is dropped. The spring editions have no limit; a minute is ours. */
  readonly idleUs: number;
}

const F22: ChunksEdition = {
  name: "f22",
  separator: " | ",
  allowsSpaces: false,
  alternates: false,
  announcesBuffer: true,
  namesByExtension: false,
  refusesAloud: false,
  bufferBytes: 1_024,
  retryUs: 500_000,
  attempts: 5,
  idleUs: 3_000_000,
};

const S23: ChunksEdition = {
  ...F22,
  name: "s23",
  separator: "|",
  alternates: true,
  announcesBuffer: false,
  bufferBytes: 20_480,
  retryUs: 1_000_000,
  attempts: 60,
  idleUs: 60_000_000,
};

/** All editions by name. */
export const EDITIONS: Readonly<Record<EditionName, ChunksEdition>> = {
  f21: { ...F22, name: "f21", separator: "|", allowsSpaces: true, namesByExtension: true },
  f22: F22,
  s23: S23,
  s24: { ...S23, name: "s24", refusesAloud: true },
};

/** The number after `sequence`: one more, or the other bit. */
export function nextSequence(edition: ChunksEdition, sequence: number): number {
  return edition.alternates ? 1 - sequence : sequence + 1;
}
