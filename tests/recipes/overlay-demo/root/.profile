PS1='router# '
stty cols 200 -echo 2>/dev/null
bind "set enable-bracketed-paste off" 2>/dev/null
