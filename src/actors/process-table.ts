/** Which process: `started` tells it from an earlier or later one with the same number, on this machine or another. */
export interface ProcessIdentity {
  readonly host: string;
  readonly pid: number;
  readonly started: string;
}

/** The processes of this machine: a port, because a simulation has its own. */
export interface ProcessTable {
  readonly self: ProcessIdentity;
  /** Whether that very process still runs here. */
  isRunning(process: ProcessIdentity): boolean;
}
