/** What recovery tells the connection about the packets it sent. */

/** What becomes of packets, told while an acknowledgement or a timeout is processed. */
export interface RecoveryHandler {
  /** A packet arrived, for the first time we hear of it. */
  handlePacketAcked(packetNumber: number, sizeBytes: number, sentAtUs: number): void;
  /** A packet is declared lost: what it carried may be sent again. */
  handlePacketLost(packetNumber: number, sizeBytes: number, isMtuProbe: boolean): void;
  /** A packet declared lost arrived after all. Told instead of `handlePacketAcked`. */
  handleSpuriousLoss(packetNumber: number): void;
}
