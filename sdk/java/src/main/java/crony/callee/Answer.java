package crony.callee;

/**
 * What a call is to be answered with.
 *
 * @param status 202 if the run was accepted, now or by an earlier call; 400 if the call is not one of an asynchronous job, and
 *     503 if there is no room for another run now, or the service is going down
 * @param message why, as plain text for the answer's body
 */
public record Answer(int status, String message) {}
