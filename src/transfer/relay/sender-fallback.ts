/** When one receiver asks the sender for chunks that no helper brings, and for which. docs/design/relay.md */
import { RELAY_QUIET_US, RELAY_RANGES, RELAY_SLOW_US, RELAY_WANTS } from "../../base/limits.ts";
import { RangeSet } from "../../base/range-set.ts";
import { chunkCount } from "../../files/hash-tree.ts";
import type { MessageQueue } from "../control-stream.ts";
import type { RelayLink } from "./relay-link.ts";
import { isWanted, LOOKS, type WantedFile, type WantedFiles } from "./wanted-files.ts";

/** Chunks asked of the sender at once although a helper has them. */
const SLOW_WANTS = 2;

/** The fallback of one transfer. */
export class SenderFallback {
  private readonly files: WantedFiles;
  private readonly messages: MessageQueue;
  /** Last time the sender sent something. */
  private senderAtUs: number;
  /** While the sender is the only source, until then. */
  private untilUs = 0;

  constructor(files: WantedFiles, messages: MessageQueue, nowUs: number) {
    this.files = files;
    this.messages = messages;
    this.senderAtUs = nowUs;
  }

  /** The sender sent something: it is not quiet. */
  handleSenderActivity(nowUs: number): void {
    this.senderAtUs = nowUs;
  }

  /** Asks the sender for what has to come from it; returns whether it did. */
  ask(links: ReadonlySet<RelayLink>, isDialling: boolean, nowUs: number): boolean {
    if (this.files.size === 0) return false;
    let open = 0;
    for (const wanted of this.files.values())
      for (const index of wanted.wanted.keys()) {
        if (wanted.file.verified.has(index)) {
          wanted.wanted.delete(index);
          this.untilUs = nowUs + RELAY_QUIET_US;
        } else if (isWanted(wanted, index, nowUs)) open++;
      }
    const quietUs = nowUs - this.senderAtUs;
    const hasHelpers = links.size > 0 || isDialling;
    // While helpers give enough to do, chunks that they do not have yet may still come to them.
    let helpersAtUs = 0;
    for (const link of links)
      if (link.asked.length > 0) helpersAtUs = Math.max(helpersAtUs, link.progressAtUs);
    const isIdle = Math.min(quietUs, nowUs - helpersAtUs) >= RELAY_QUIET_US;
    if (hasHelpers && !isIdle && quietUs < RELAY_SLOW_US && nowUs >= this.untilUs) return false;
    let looks = LOOKS;
    let hasAsked = false;
    for (const wanted of this.files.values()) {
      if (open >= RELAY_WANTS || looks <= 0) break;
      const chosen = new RangeSet();
      const end = chunkCount(wanted.served.sizeBytes);
      const start = this.files.randomStart(end);
      for (const [from, to] of [
        [start, end],
        [0, start],
      ]) {
        for (let index = from; looks > 0 && open < RELAY_WANTS; looks--, index++) {
          index = wanted.file.verified.nextMissing(index);
          if (index >= to) break;
          if (!needsSender(wanted, index, links, quietUs, open, nowUs)) continue;
          wanted.wanted.set(index, nowUs);
          chosen.add(index, index + 1);
          open++;
        }
      }
      if (chosen.size === 0) continue;
      const ranges = chosen.toArray().slice(0, RELAY_RANGES);
      this.messages.add({ type: "relay-want", object: wanted.file.object, ranges });
      this.untilUs = nowUs + RELAY_QUIET_US;
      hasAsked = true;
    }
    return hasAsked;
  }
}

/** Whether a chunk has to come from the sender: no helper has it, or those are slow, and the sender is quiet. */
function needsSender(
  wanted: WantedFile,
  index: number,
  links: ReadonlySet<RelayLink>,
  quietUs: number,
  open: number,
  nowUs: number,
): boolean {
  const { file, asked } = wanted;
  if (isWanted(wanted, index, nowUs) || !file.isFetchable(index)) return false;
  const askedAtUs = asked.get(index);
  let isOffered = askedAtUs !== undefined;
  for (const link of links) isOffered ||= link.has.of(file.object)?.has(index) === true;
  if (!isOffered) return true;
  if (quietUs < RELAY_SLOW_US || open >= SLOW_WANTS) return false;
  return askedAtUs === undefined || nowUs - askedAtUs >= RELAY_SLOW_US;
}
