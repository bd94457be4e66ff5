-- The last of the script: it runs the command that was asked for.

local commands = {append = append, look = look, lead = lead, leave = leave, load = load, last = last,
  read = read, read_rooms = read_rooms, read_newest = read_newest, newest = newest_first}
return commands[command]()
