/** Versions of actors' rows: the newest that this node reads, and the one that is written, which every living node reads. */
export interface RowSchemas {
  readonly readable: number;
  readonly writable: number;
}

/**
 * Where actors live, as far as one node must know it to take one on.
 *
 * Placement decides availability only: that two activations never both commit is the header's work (A1).
 */
export interface Placement {
  /** The name of this incarnation of this node: no other process, earlier or later, has it. Part of messages to people. */
  readonly node: string;
  /** Makes this node known as alive. Before it no actor is activated here. */
  join(): Promise<void>;
  /** Makes this node known as gone. */
  leave(): Promise<void>;
  /** Whether `node` may still hold actors. A node that has never joined, or has left, does not. */
  isAlive(node: string): Promise<boolean>;
  /** Whether no other node can have taken this one's actors over by now, so that answers may be given from memory. */
  readonly holdsLease: boolean;
  readonly schema: RowSchemas;
}
