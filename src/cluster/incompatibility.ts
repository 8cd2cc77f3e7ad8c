import { IncompatibleNodeError, type Member } from "./cluster.ts";

/** Why this node could not work together with a member, if it could not. */
export function incompatibility(
  member: Member,
  own: Required<Pick<Member, "wire" | "schema" | "isSecure">>,
): IncompatibleNodeError | undefined {
  if (member.address !== null && (member.isSecure ?? false) !== own.isSecure)
    return new IncompatibleNodeError(
      own.isSecure
        ? `Node ${member.node} speaks no TLS with other nodes, and this one does: stop that node, and start it with a certificate of the cluster`
        : `Node ${member.node} speaks TLS with other nodes, and this one does not: give this one a certificate of the cluster (KELPIE_CLUSTER_CERTIFICATE)`,
    );
  for (const kind of ["wire", "schema"] as const) {
    const what = kind === "wire" ? "protocol" : "rows";
    if (own[kind].max < member[kind].min)
      return new IncompatibleNodeError(
        `Node ${member.node} needs version ${member[kind].min} of the ${what}, and this one has at most ${own[kind].max}: update this node`,
      );
    if (own[kind].min > member[kind].max)
      return new IncompatibleNodeError(
        `Node ${member.node} has at most version ${member[kind].max} of the ${what}, and this one needs ${own[kind].min}: update that node first`,
      );
  }
  return undefined;
}
