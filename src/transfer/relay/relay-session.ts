/** The session of a receiver that dialled another one, to exchange chunks of one transfer. */
import { GodwitError } from "../../base/errors.ts";
import type { ControlMessage } from "../messages.ts";
import type { SessionHost } from "../session.ts";
import { TransferSession } from "../session.ts";
import type { RelayDial } from "./relay-node.ts";

/** Runs a link that was dialled. */
export class RelaySession extends TransferSession {
  constructor(host: SessionHost, dial: RelayDial, nowUs: number) {
    super(host);
    this.patience.setPatience(0);
    this.link = dial.node.handleDialled(dial, this.linkCarrier, nowUs);
    if (this.link === undefined) this.end(undefined, "");
    this.handleTimeout(nowUs);
  }

  protected handleMessage(message: ControlMessage): void {
    if (this.link === undefined)
      throw new GodwitError("PROTOCOL_VIOLATION", "a message to a link that is over");
    this.link.handleMessage(message, this.timeUs);
  }
}
