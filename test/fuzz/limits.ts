/** What the node that is attacked may take: a Node process, and what its limits allow so many attackers to hold. */
export const memoryMegabytesMax = 400;
