/** The records that recovery fills again and again for the congestion controller, empty. */
import type { AckSample, LossSample } from "../congestion/controller.ts";

/** An acknowledgement of nothing. */
export function emptyAckSample(): AckSample {
  return {
    nowUs: 0,
    ackedBytes: 0,
    lostBytes: 0,
    priorBytesInFlight: 0,
    bytesInFlight: 0,
    hasRttSample: false,
    latestRttUs: 0,
    smoothedRttUs: 0,
    rttVariationUs: 0,
    minRttUs: 0,
    totalDeliveredBytes: 0,
    totalLostBytes: 0,
    hasRateSample: false,
    rateDeliveredBytes: 0,
    rateIntervalUs: 0,
    ratePriorDeliveredBytes: 0,
    rateLostBytes: 0,
    rateBytesInFlightAtSend: 0,
    rateIsAppLimited: false,
    largestAcked: -1,
    nextPacketNumber: 0,
    largestAckedSentAtUs: 0,
    ecnCePackets: 0,
  };
}

/** A loss of nothing. */
export function emptyLossSample(): LossSample {
  return {
    nowUs: 0,
    lostBytes: 0,
    lostPackets: 0,
    bytesInFlight: 0,
    largestLost: -1,
    largestLostSentAtUs: 0,
    earliestLostSentAtUs: 0,
    bytesInFlightAtSend: 0,
    deliveredBytesAtSend: 0,
    nextPacketNumber: 0,
    smoothedRttUs: 0,
    minRttUs: 0,
    isPersistentCongestion: false,
  };
}
