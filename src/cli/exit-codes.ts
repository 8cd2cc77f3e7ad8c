/** What the number means with which `kelpie` ends. */
export const exitCodes = {
  ok: 0,
  /** The command ran and did not succeed; the message says why. */
  failed: 1,
  /** The command line or a variable is wrong; nothing was done. */
  usage: 2,
  /** No Kelpie answers at the address. */
  unreachable: 3,
  /** A node of a cluster that the others took to be dead. Started again it is a new one. */
  fenced: 4,
  /** Ended by a closed terminal, Ctrl-C or SIGTERM before it was done. */
  hungUp: 129,
  interrupted: 130,
  terminated: 143,
} as const;
