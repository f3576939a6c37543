/** What a model of the path asks of the sender. */

/** One record per controller, overwritten with each acknowledgement. */
export interface SendingLimits {
  /** Most bytes that may be in flight. */
  windowBytes: number;
  /** Bytes per second; `Infinity` where it is not known yet. */
  pacingRate: number;
}
