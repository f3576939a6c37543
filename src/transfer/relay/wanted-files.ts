/** The files that one receiver is receiving: which of their chunks it asked of helpers, which of the sender. */
import type { SeededRandom } from "../../base/random.ts";
import type { RangeSet } from "../../base/range-set.ts";
import { chunkCount } from "../../files/hash-tree.ts";
import type { IncomingFile } from "../incoming-file.ts";
import type { ServedFile } from "./served-files.ts";

/** Chunks looked at for one choice: a look must stay cheap in a file of terabytes. */
export const LOOKS = 4_096;

/** When the sender is asked again for a chunk that did not come, in microseconds. */
const WANT_AGAIN_US = 1_500_000;

/** Takes verified chunks that came from helpers. */
export interface ChunkTaker {
  /** Whether the chunk was taken, was there already, or is not what the sender's hash says. */
  takeRelayed(
    file: IncomingFile,
    index: number,
    bytes: Uint8Array,
    lengthBytes: number,
  ): "taken" | "unwanted" | "bad";
}

/** A file that is being received. */
export interface WantedFile {
  readonly file: IncomingFile;
  readonly taker: ChunkTaker;
  readonly served: ServedFile;
  /** Chunks asked of helpers, and when. */
  readonly asked: Map<number, number>;
  /** Chunks asked of the sender, and when. */
  readonly wanted: Map<number, number>;
}

/** The files of one transfer by their object. */
export class WantedFiles extends Map<number, WantedFile> {
  private readonly random: SeededRandom;

  constructor(random: SeededRandom) {
    super();
    this.random = random;
  }

  /** A chunk that a helper has and nobody was asked for; from a random place on, so that receivers differ. */
  pick(wanted: WantedFile, has: RangeSet, nowUs: number): number | undefined {
    const end = chunkCount(wanted.served.sizeBytes);
    const start = this.randomStart(end);
    return pickBetween(wanted, has, start, end, nowUs) ?? pickBetween(wanted, has, 0, start, nowUs);
  }

  /** A place below `end` to begin at. */
  randomStart(end: number): number {
    return Math.floor(this.random.float() * end);
  }
}

/** Whether the sender was asked for a chunk and may still send it. */
export function isWanted({ wanted }: WantedFile, index: number, nowUs: number): boolean {
  const atUs = wanted.get(index);
  return atUs !== undefined && nowUs - atUs < WANT_AGAIN_US;
}

function pickBetween(
  wanted: WantedFile,
  has: RangeSet,
  from: number,
  end: number,
  nowUs: number,
): number | undefined {
  const { file, asked } = wanted;
  let index = from;
  for (let looks = 0; looks < LOOKS; looks++) {
    const present = has.nextPresent(index);
    if (present === undefined || present >= end) return undefined;
    index = file.verified.nextMissing(present);
    if (index !== present) continue;
    if (!asked.has(index) && !isWanted(wanted, index, nowUs) && file.isFetchable(index)) return index;
    index++;
  }
  return undefined;
}
