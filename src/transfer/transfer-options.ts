/** Choices of a transfer that both sides must know, as the request carries them. docs/spec/transfer.md */

/** Choices that both sides must know. */
export interface TransferOptions {
  /** Replace existing files, atomically. */
  readonly overwrite: boolean;
  /** Skip files that are there with the same size and time; replace others. */
  readonly update: boolean;
  /** With `update`: compare contents instead of times. */
  readonly checksum: boolean;
  /** Send symbolic links as links. */
  readonly links: boolean;
  /** Say what would happen; change nothing. */
  readonly dryRun: boolean;
  /** Leave runs of zeros as holes. */
  readonly sparse: boolean;
  /** Receivers that can shall serve what they have to others of the same transfer. */
  readonly relay: boolean;
}

/** No option set. */
export const DEFAULT_OPTIONS: TransferOptions = {
  overwrite: false,
  update: false,
  checksum: false,
  links: false,
  dryRun: false,
  sparse: false,
  relay: false,
};

const OPTION_BITS: readonly (keyof TransferOptions)[] = [
  "overwrite",
  "update",
  "checksum",
  "links",
  "dryRun",
  "sparse",
  "relay",
];

/** The options as bits. */
export function optionBits(options: TransferOptions): number {
  let bits = 0;
  OPTION_BITS.forEach((name, bit) => {
    if (options[name]) bits |= 1 << bit;
  });
  return bits;
}

/** The options of these bits; bits this version does not know are ignored. */
export function optionsFromBits(bits: number): TransferOptions {
  return Object.fromEntries(OPTION_BITS.map((name, bit) => [name, (bits & (1 << bit)) !== 0])) as Record<
    keyof TransferOptions,
    boolean
  >;
}
